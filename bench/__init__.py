"""Measurements: every claim about speed is a bench that anyone can run, and prints JSON."""

from __future__ import annotations

import importlib
from typing import Any

from runtime.config import Settings
from runtime.subjects import Subjects

_MEANINGS = {
    "bars": "the bar kernel and the bars function: trades per second on one core",
    "scan": "10,000 symbols, 100 and 1,000 rules of 3 conditions, toplists: time of one scan",
    "metrics": "10,000 symbols: every metric, those of 100 rules and 20 toplists, one minute close, memory",
    "flat": "an hour of the simulator, 1,000 rules that come and go: memory at its end and early on",
    "pipeline": "publish -> JetStream on disk -> bars, indicators, scanner -> outputs",
    "latency": "trade published -> alert at a WebSocket client, under load",
    "fanout": "one gateway process: updates to 1,000 and 5,000 clients, some of them stalled; reads over REST",
    "takeover": "kill -9 and freeze of a worker: time to the first output of the next owner",
    "scaling": "1 -> 4 -> 1 workers under load by the scaling figures: pauses, losses, time to drain",
    "backtest": "one trading day of 10,000 symbols' minute bars: from the file to alerts, outcomes and the report",
    "store": "bars into a PostgreSQL of its own: bars a second, time of a commit; the bars of one symbol's day",
    "charts": "bars of a symbol over REST while three days of 10,000 symbols are stored",
    "page": "the page in a Chromium with an empty cache: first content, windows, bytes",
    "labels": "precision and recall of every alert metric over the labelled market, clean and dirty",
    "ingest": "50,000 trades a second over a vendor's websocket -> stored in JetStream; an opening burst of 20 times the average",
    "chaos": "what feeds make of a vendor's server that misbehaves, and what the SDK makes of it where it is installed",
    "feeds": "frames of vendors to columns, trades a second on one core, beside the official SDK where it is installed",
}


def names() -> dict[str, str]:
    """The benches and what each measures."""
    return dict(_MEANINGS)


def run_bench(
    name: str, settings: Settings, subjects: Subjects, quiet: bool = True, **sizes: Any
) -> dict[str, Any]:
    """Run one bench; `sizes` override its defaults, as its tests do."""
    from bench.machinery import machine

    module = importlib.import_module(f"bench.{name}")
    used, results = module.run(settings, subjects, quiet, **sizes)
    return {"bench": name, "machine": machine(), "sizes": used, "results": results}
