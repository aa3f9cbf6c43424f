"""What is computed of a frame's events: right where prints repeat their symbol, and gone with the frame."""

from __future__ import annotations

import gc
import json
from typing import Any

import numpy as np

from functions.bars import bars
from functions.indicators import indicators
from functions.market import metrics
from functions.market.tape import Moments
from functions.scanner import scanner
from runtime.testing import Harness

OPEN_NS = 1_767_623_400_000_000_000  # Monday, 09:30 in New York
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
RULE = {
    "id": "r",
    "name": "R",
    "conditions": [
        {"metric": "relative_volume_same_time", "operator": ">", "value": 0, "volume_threshold": 0}
    ],
}


def trade(h: Harness, ts_ns: int, **sizes: list[float]) -> dict[str, Any]:
    symbols = [symbol for symbol, several in sizes.items() for _ in several]
    count = len(symbols)
    sent = [size for several in sizes.values() for size in several]
    return h.send("ticks.trades", symbol=symbols, ts_ns=[ts_ns] * count, price=[10.0] * count, size=sent)  # fmt: skip


def test_as_many_prints_of_one_symbol_as_there_are_symbols_have_its_usual_volume() -> None:
    h = Harness(bars, indicators, scanner)
    trade(h, OPEN_NS, A=[1000.0], B=[100.0])
    h.send("ticks.clock", ts_ns=[OPEN_NS + 60 * SECOND_NS])
    h.send("control", version=[1], body=[json.dumps({"rules": [RULE]})])
    h.send("ticks.clock", ts_ns=[OPEN_NS + DAY_NS - SECOND_NS])
    out = trade(h, OPEN_NS + DAY_NS + SECOND_NS, B=[50.0, 50.0])
    (values,) = out["alerts"]["values"]
    assert json.loads(values)["metrics"] == {"relative_volume_same_time": 50.0}


def test_what_was_computed_of_events_is_gone_before_the_collector_comes() -> None:
    h = Harness(bars, indicators, scanner)
    gc.collect()
    gc.disable()
    try:
        for second in range(3):
            trade(h, OPEN_NS + second * SECOND_NS, A=[1.0], B=[1.0, 2.0])
            clock_ns = OPEN_NS + second * SECOND_NS + 1
            h.send("ticks.clock", ts_ns=[clock_ns])
            state = h.chain.table("scanner")
            found = metrics.compute(metrics.NAMES, state, metrics.at_clock(state, clock_ns))
            assert np.isfinite(found["volume_daily"]).all()
        assert not [one for one in gc.get_objects() if isinstance(one, Moments)]
    finally:
        gc.enable()
