"""Each bench runs, small, and answers with the keys it promises; how fast is not a test's business."""

from __future__ import annotations

from typing import Any

import pytest

from bench import names, run_bench
from runtime.chaos.server import DIALECTS
from runtime.config import Settings
from runtime.subjects import Subjects
from tests.conftest import ROOT

SETTINGS = Settings(functions_dir=str(ROOT / "functions"))
SMALL: dict[str, tuple[dict[str, Any], set[str]]] = {
    "bars": ({"frames": 5}, {"ticks_per_s", "chain_ticks_per_s"}),
    "scan": (
        {"symbols": 50, "rules": 3, "scans": 3, "days": 12, "minutes": 12},
        {"p50_ms", "p95_ms", "p99_ms", "many_p95_ms", "ticks_per_s"},
    ),
    "metrics": (
        {"symbols": 40, "minutes": 30, "days": 12, "scans": 4},
        {"all_ms", "scan_ms", "close_ms", "peak_rss_mb"},
    ),
    "flat": (
        {"symbols": 20, "rules": 20, "minutes": 4, "early": 2, "rate": 8.0},
        {"rss_grown", "state_grown"},
    ),
    "pipeline": (
        {"symbols": 100, "trades_per_s": 500, "seconds": 3, "rules": 2},
        {"ticks_per_s", "lost", "bars"},
    ),
    "latency": (
        {"ticks_per_s": 320, "seconds": 1.0, "symbols": 200},
        {"p50_ms", "p95_ms", "p99_ms", "lost"},
    ),
    "fanout": (
        {"many": 20, "most": 40, "stalled": 2, "reads_per_s": 50.0, "seconds": 1.0},
        {"fast_p99_ms", "fast_stalled_cut_off_s", "wide_p99_ms", "read_p99_ms"},
    ),
    "takeover": (
        {"kills": 1, "freezes": 0},
        {"kill_max_s", "freeze_max_s", "lost", "duplicated", "reordered"},
    ),
    "backtest": (
        {"symbols": 30, "minutes": 40},
        {"seconds", "minute_ms", "bars_per_s", "alerts", "peak_rss_mb"},
    ),
    "store": (
        {"symbols": 20, "minutes": 8, "days": 1, "queries": 3},
        {"bars_per_s", "commit_p95_ms", "revised", "lost", "indicators_per_s", "day_p95_ms"},
    ),
    "charts": (
        {"symbols": 20, "days": 2, "minutes": 100, "requests": 4, "clients": 2},
        {"day_1m_p95_ms", "days_1d_p95_ms", "day_1m_of_2_clients_p95_ms", "bytes"},
    ),
    "page": ({"visits": 1}, {"first_content_p50_ms", "windows_p50_ms"}),
    "labels": ({"dirts": ("usual",), "prints_max": 2_000}, {"usual"}),
    "ingest": (
        {
            "trades_per_s": 2_000,
            "seconds": 0.5,
            "average_per_s": 500,
            "burst_s": 0.2,
            "warm_s": 0.2,
        },
        {"p50_ms", "p99_ms", "lost", "duplicated", "burst_caught_up_s"},
    ),
    "chaos": (
        {"faults": ("drop",), "wait_s": 10.0},
        {f"{vendor} drop lost" for vendor in DIALECTS},
    ),
    "feeds": (
        {"trades": 200},
        {"alpaca_msgpack_per_s", "alpaca_msgpack_waiting_per_s", "binance_json_per_s"},
    ),
}


def test_every_bench_has_a_small_run() -> None:
    assert {*SMALL, "scaling"} == set(names())  # that one: tests/exactly_once/test_scaling.py


@pytest.mark.parametrize("name", SMALL)
def test_a_bench_answers_with_its_keys(name: str, subjects: Subjects) -> None:
    sizes, keys = SMALL[name]
    report = run_bench(name, SETTINGS, subjects, quiet=True, **sizes)
    assert set(report) == {"bench", "machine", "sizes", "results"}
    assert keys <= set(report["results"])
    for lost in ("lost", "duplicated", "reordered"):
        assert report["results"].get(lost, 0) == 0
