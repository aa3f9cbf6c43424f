"""Memory over an hour of the simulator in which 1,000 rules come and go: at its end what it was at the tenth minute."""

from __future__ import annotations

import gc
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.machinery import control_frame
from bench.metrics import MIDNIGHT_NS, MINUTE_NS, RULES
from runtime.chain import Chain
from runtime.config import Settings
from runtime.frames import Frame
from runtime.loader import load_plan
from runtime.subjects import Subjects

START_NS = MIDNIGHT_NS + 600 * MINUTE_NS  # 10:00: a market in full swing
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
TURN = 10  # minutes in which every rule is replaced once


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 500,
    rules: int = 1_000,
    minutes: int = 60,
    early: int = 10,
    rate: float = 200.0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    from runtime.providers.sim import SimProvider

    market = load_plan(Path(settings.functions_dir), subjects).chain("market")
    assert market is not None
    chain, told, began = Chain(market, subjects, 0), {}, time.perf_counter()
    minute, alerts = -1, 0
    for batch in SimProvider(symbols=symbols, seed=11, rate=rate, start_ns=START_NS).batches():
        if batch.kind == "clock":
            reached = (int(batch.columns["ts_ns"][-1]) - START_NS) // MINUTE_NS
            if reached > minute:
                minute = reached
                if minute in (early, minutes):
                    told[minute] = _memory(chain)
                if minute == minutes:
                    break
                chain.run(
                    minute + 1,
                    "control.0",
                    control_frame(subjects, _body(rules, minute), minute + 1),
                )
        names = None if batch.index is None else list(batch.symbols)
        frame = Frame(batch.columns, names, batch.index, "bench")
        for output in chain.run_frame(batch.base, frame):
            alerts += output.base == "alerts"
    first, last = told[early], told[minutes]
    sizes = {"symbols": symbols, "rules": rules, "minutes": minutes, "early": early, "trades_per_s": rate}  # fmt: skip
    return sizes, {
        **{f"{name}_early_mb": value for name, value in first.items()},
        **{f"{name}_late_mb": value for name, value in last.items()},
        **{f"{name}_grown": round(last[name] / first[name] - 1, 4) for name in first},
        "rules_told": rules + (minutes - 1) * rules // TURN,
        "alert_frames": alerts,
        "seconds": round(time.perf_counter() - began, 1),
    }


def _memory(chain: Chain) -> dict[str, float]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    state = sum(chain.table(one.name).bytes_used for one in chain.plan.functions)
    return {"rss": round(pages * PAGE_MB, 1), "state": round(state / 1e6, 2)}


def _body(rules: int, minute: int) -> str:
    """The rules of a minute: each minute one in TURN is another version than the minute before."""
    made = []
    for k in range(rules):
        draw = np.random.default_rng((k, (minute + k % TURN) // TURN))
        conditions = [
            {"metric": str(name), "operator": ">", "value": round(float(value), 3)}
            for name, value in zip(draw.choice(RULES, 3, replace=False), draw.exponential(1.0, 3), strict=True)
        ]  # fmt: skip
        made.append({"id": f"r{k}", "name": f"R {k}", "cooldown": 300, "conditions": conditions})
    return json.dumps({"rules": made})
