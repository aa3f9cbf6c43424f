"""When a rule fires: on the turn to true, once per cooldown, with an id that any run gives again."""

from __future__ import annotations

import json
from typing import Any

from functions.bars import bars
from functions.indicators import indicators
from functions.scanner import scanner
from runtime.testing import Harness

T0 = 1_767_623_400_000_000_000  # Monday, 09:30 in New York
SECOND_NS = 10**9


def hosted(**rule: Any) -> Harness:
    h = Harness(bars, indicators, scanner)
    control(h, 1, **rule)
    return h


def control(h: Harness, version: int, **rule: Any) -> None:
    condition = {"metric": "price", "operator": ">", "value": 10.0, **rule.pop("condition", {})}
    whole = {"id": "r1", "name": "Above 10", "cooldown": 0, "conditions": [condition], **rule}
    h.send("control", version=[version], body=[json.dumps({"rules": [whole]})])


def fired(h: Harness, *prices: float, at_s: int = 0, symbol: str = "A", upd: int = 7) -> list[int]:
    """Send one print a second; the seconds at which an alert was raised."""
    seconds = [T0 + (at_s + k) * SECOND_NS for k in range(len(prices))]
    out = h.send(
        "ticks.trades",
        symbol=[symbol] * len(prices),
        ts_ns=seconds,
        price=prices,
        size=[100.0] * len(prices),
        upd=[upd] * len(prices),
    )
    found = out["alerts"]["ts_ns"].tolist() if "alerts" in out else []
    return [(one - T0) // SECOND_NS for one in found]


def test_a_rule_fires_on_the_turn_to_true_and_again_after_it_was_false() -> None:
    assert fired(hosted(), 9.0, 11.0, 12.0, 9.0, 11.0) == [1, 4]


def test_a_rule_that_holds_at_the_first_print_fires() -> None:
    assert fired(hosted(), 11.0, 11.0) == [0]


def test_what_the_cooldown_suppresses_does_not_prolong_it() -> None:
    h = hosted(cooldown=4)
    assert fired(h, 11.0, 9.0, 11.0, 9.0, 11.0) == [0, 4]


def test_cooldown_and_edge_survive_a_restart() -> None:
    h = hosted(cooldown=100)
    assert fired(h, 11.0) == [0]
    h.crash_and_restore()
    assert fired(h, 11.0, 9.0, 11.0, at_s=1) == []
    assert fired(h, 9.0, 11.0, at_s=100) == [101]


def test_a_changed_rule_starts_clean_and_a_renamed_one_goes_on() -> None:
    h = hosted(cooldown=100)
    assert fired(h, 11.0) == [0]
    control(h, 2, cooldown=100, name="Another name")
    assert fired(h, 9.0, 11.0, at_s=1) == []
    control(h, 3, cooldown=99)
    assert fired(h, 11.0, at_s=3) == [3]


def test_an_unknown_metric_value_never_fires_not_even_for_not_equal() -> None:
    for operator in ("<", ">", "!=", "=="):
        condition = {"metric": "rsi_14", "operator": operator, "value": 0}
        assert fired(hosted(condition=condition), 11.0, 12.0) == []


def test_prints_that_may_not_set_the_last_price_fire_nothing() -> None:
    assert fired(hosted(), 11.0, upd=1) == []


def test_a_print_of_an_earlier_minute_fires_nothing() -> None:
    h = hosted()
    assert fired(h, 9.0, at_s=60) == []
    assert fired(h, 11.0, at_s=59) == []


def test_an_id_is_the_same_for_any_framing_and_differs_within_one_nanosecond() -> None:
    def ids(frames: list[list[float]]) -> list[str]:
        h, found = hosted(), []
        for prices in frames:
            n = len(prices)
            out = h.send(
                "ticks.trades", symbol=["A"] * n, ts_ns=[T0] * n, price=prices, size=[1.0] * n
            )
            found += out["alerts"]["id"].tolist() if "alerts" in out else []
        return found

    whole = ids([[11.0, 9.0, 11.0]])
    assert whole == ids([[11.0], [9.0], [11.0]])
    assert len(set(whole)) == 2


def test_the_volume_threshold_is_of_the_days_volume_at_the_print() -> None:
    assert fired(hosted(condition={"volume_threshold": 250}), 11.0, 11.0, 11.0, 11.0) == [2]


def test_an_alert_tells_the_values_of_its_conditions() -> None:
    out = hosted().send("ticks.trades", symbol=["A"], ts_ns=[T0], price=[11.5], size=[1.0])
    assert json.loads(out["alerts"]["values"][0]) == {"metrics": {"price": 11.5}}
