"""What names an alert, and what a change may not look back over."""

from __future__ import annotations

import json

from functions.bars import bars
from functions.indicators import indicators
from functions.scanner import scanner
from runtime.testing import Harness

T0 = 1_767_623_400_000_000_000
MINUTE_NS = 60_000_000_000


def watched(metric: str, value: float) -> Harness:
    h = Harness(bars, indicators, scanner)
    rule = {
        "id": "r",
        "name": "R",
        "cooldown": 0,
        "conditions": [{"metric": metric, "operator": ">", "value": value}],
    }
    h.send("control", version=[1], body=[json.dumps({"rules": [rule]})])
    return h


def test_no_two_alerts_share_an_id_when_times_repeat_and_go_back() -> None:
    h = watched("price", 10.0)
    times = [5, 5, 7, 7, 6, 6, 5, 5, 7, 7]
    out = h.send(
        "ticks.trades",
        symbol=["A"] * 10,
        ts_ns=[T0 + one for one in times],
        price=[11.0, 9.0] * 5,
        size=[1.0] * 10,
    )
    ids = out["alerts"]["id"].tolist()
    assert len(ids) == 5
    assert len(set(ids)) == 5


def test_a_change_does_not_look_back_over_a_night() -> None:
    h = watched("change_pct_5m", 1.0)
    h.send("ticks.trades", symbol=["A"], ts_ns=[T0], price=[10.0], size=[100.0])
    h.clock(T0 + MINUTE_NS)
    later = T0 + 1110 * MINUTE_NS
    h.clock(later)
    assert "alerts" not in h.send(
        "ticks.trades", symbol=["A"], ts_ns=[later], price=[12.0], size=[100.0]
    )
    h.clock(later + MINUTE_NS)
    after = later + 3 * MINUTE_NS
    h.clock(after)
    assert "alerts" not in h.send(
        "ticks.trades", symbol=["A"], ts_ns=[after], price=[14.0], size=[100.0]
    )
    known = later + 6 * MINUTE_NS
    h.clock(known)
    assert (
        len(
            h.send("ticks.trades", symbol=["A"], ts_ns=[known], price=[14.0], size=[100.0])[
                "alerts"
            ]
        )
        == 1
    )
