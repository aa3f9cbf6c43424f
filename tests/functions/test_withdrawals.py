"""Alerts whose print was wrong are withdrawn or amended, once, whatever the cut and the restarts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.bars import bars
from functions.indicators import indicators
from functions.rules import withdrawals
from functions.scanner import scanner
from runtime.testing import Harness

T0 = 1_767_623_400_000_000_000  # Monday, 09:30 in New York
SECOND_NS = 10**9
Trade = tuple[str, float, float, int]  # symbol, second, price, id
NAMES = ("id", "kind", "price", "ts_ns", "values", "explain", "strength", "causes", "reason")


def hosted(**rules: str | dict[str, Any]) -> Harness:
    """A scanner with rules by id: their text, or more of them. No cooldown if not said."""
    h = Harness(bars, indicators, scanner)
    told = [
        {"id": name, "name": name.upper(), "cooldown": 0}
        | ({"when": one} if isinstance(one, str) else one)
        for name, one in rules.items()
    ]
    h.send("control", version=[1], body=[json.dumps({"rules": told})])
    return h


def trade(h: Harness, *trades: Trade, size: float = 100.0, upd: int = 7) -> list[dict[str, Any]]:
    count = len(trades)
    symbols, seconds, prices, ids = zip(*trades, strict=True)
    return told(
        h.send(
            "ticks.trades",
            symbol=list(symbols),
            ts_ns=[T0 + round(one * SECOND_NS) for one in seconds],
            price=list(prices),
            size=[size] * count,
            upd=[upd] * count,
            id=list(ids),
        )
    )


def correct(
    h: Harness, wrong: Trade, price: float = np.nan, *, new_id: int = 0, upd: int = 255
) -> list[dict[str, Any]]:
    """A correction to a price, or a cancel."""
    symbol, second, before, number = wrong
    return told(
        h.send(
            "ticks.corrections",
            symbol=[symbol],
            ts_ns=[T0 + round(second * SECOND_NS)],
            price=[before],
            size=[100.0],
            upd=[7],
            id=[number],
            new_price=[price],
            new_size=[100.0],
            new_upd=[upd],
            new_id=[new_id],
        )
    )


def told(out: Any) -> list[dict[str, Any]]:
    if "alerts" not in out:
        return []
    frame = out["alerts"]
    names = [name for name in NAMES if name in frame]
    columns = [frame[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def kinds(said: list[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in said]


def test_a_cancelled_print_withdraws_its_alert_under_its_id() -> None:
    h = hosted(r="price > 10")
    trade(h, ("A", 0, 9.0, 1))
    (alert,) = trade(h, ("A", 1, 11.0, 2))
    h.clock(T0 + 3 * SECOND_NS)
    (said,) = correct(h, ("A", 1, 11.0, 2))
    assert said == alert | {
        "kind": "withdrawn",
        "ts_ns": T0 + 3 * SECOND_NS,
        "reason": "trade cancelled",
    }


def test_a_cancel_of_another_print_withdraws_nothing() -> None:
    h = hosted(r="price > 10")
    trade(h, ("A", 0, 9.0, 1), ("A", 1, 11.0, 2), ("A", 1, 11.0, 3), ("B", 1, 11.0, 2))
    assert correct(h, ("A", 1, 11.0, 3)) == correct(h, ("A", 0, 9.0, 1)) == []


def test_a_trade_that_comes_twice_withdraws_nothing() -> None:
    h = hosted(r="price > 10")
    trade(h, ("A", 1, 11.0, 2))
    assert trade(h, ("A", 1, 11.0, 2)) == []


def test_without_ids_a_print_is_known_by_its_time_price_and_size() -> None:
    h = hosted(r="price > 10")
    trade(h, ("A", 0, 9.0, 0), ("A", 1, 11.0, 0), ("A", 2, 12.0, 0))
    assert correct(h, ("A", 2, 12.0, 0)) == []
    assert kinds(correct(h, ("A", 1, 11.0, 0))) == ["withdrawn"]


def test_a_condition_that_cannot_be_computed_any_more_is_not_certainly_untrue() -> None:
    h = hosted(r="1 / (price - 12) > -10")
    (alert,) = trade(h, ("A", 1, 11.0, 2))
    (said,) = correct(h, ("A", 1, 11.0, 2), 12.0)
    assert (said["id"], said["kind"]) == (alert["id"], "amended")
    assert json.loads(said["explain"])["leaves"][0]["truth"] is None


def test_a_corrected_price_that_still_holds_amends() -> None:
    h = hosted(r="price > 10 and price < 20")
    (alert,) = trade(h, ("A", 1, 11.0, 2))
    (said,) = correct(h, ("A", 1, 11.0, 2), 12.0)
    assert (said["id"], said["kind"], said["price"]) == (alert["id"], "amended", 12.0)
    assert said["reason"] == "trade corrected from 11 to 12"
    assert json.loads(said["values"]) == {"metrics": {"price": 12.0}}
    leaves = json.loads(said["explain"])["leaves"]
    assert [(one["value"], one["truth"], one["margin"]) for one in leaves] == [
        (12.0, True, pytest.approx(0.2)),
        (12.0, True, pytest.approx(0.4)),
    ]
    assert said["strength"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("when", "price", "kind"),
    [
        ("price > 10", 9.5, "withdrawn"),
        ("price > 10 or price < 8", 7.5, "amended"),
        ("not price < 10", 9.5, "withdrawn"),
        ("price * 2 > 20", 9.5, "withdrawn"),
        ("price crosses above 10", 9.5, "withdrawn"),
        ("price crosses above 10", 10.5, "amended"),
        ("volume_daily >= 200 volume >= 0", 5.0, "amended"),  # what it does not move stays
        ("price > 10 and volume_daily >= 200 volume >= 0", 9.5, "withdrawn"),
        ("first time today (price > 10)", 9.5, "withdrawn"),
        ("price > 8 then price > 10 within 5m", 9.5, "withdrawn"),
        ("price > 10 re-arms below 9", 9.5, "amended"),  # whether it was on before is not told
        ("change_from_close_pct > 5 volume >= 0", 10.4, "withdrawn"),
        ("change_from_close_pct > 5 volume >= 0", 10.6, "amended"),
    ],
)
def test_the_condition_is_judged_again_at_the_corrected_price(
    when: str, price: float, kind: str
) -> None:
    h = hosted(r=when)
    day_ns = T0 - 3 * 86_400 * SECOND_NS
    names = ("open", "high", "low", "close")
    prices = {name: [10.0] for name in names}
    h.send("ticks.daily", symbol=["A"], ts_ns=[day_ns], volume=[1e6], factor=[1.0], **prices)
    assert trade(h, ("A", 0, 9.0, 1)) == []
    (alert,) = trade(h, ("A", 1, 11.0, 2))
    (said,) = correct(h, ("A", 1, 11.0, 2), price)
    assert (said["id"], said["kind"]) == (alert["id"], kind)
    if when.startswith("change") and kind == "amended":
        assert json.loads(said["values"])["metrics"]["change_from_close_pct"] == pytest.approx(6.0)


def test_a_print_that_no_longer_counts_for_the_last_price_withdraws() -> None:
    h = hosted(r="price > 10")
    trade(h, ("A", 1, 11.0, 2))
    (said,) = correct(h, ("A", 1, 11.0, 2), 11.0, upd=1)
    assert (said["kind"], said["reason"]) == (
        "withdrawn",
        "trade no longer counts for the last price",
    )


def test_a_correction_of_the_size_alone_says_nothing_and_the_print_is_known_further() -> None:
    h = hosted(r="price > 10")
    trade(h, ("A", 1, 11.0, 2))
    assert correct(h, ("A", 1, 11.0, 2), 11.0, new_id=7) == []
    assert kinds(correct(h, ("A", 1, 11.0, 7))) == ["withdrawn"]


def test_a_correction_of_a_correction_is_followed_and_a_withdrawal_is_final() -> None:
    h = hosted(r="price > 10")
    trade(h, ("A", 1, 11.0, 2))
    assert kinds(correct(h, ("A", 1, 11.0, 2), 12.0, new_id=9)) == ["amended"]
    assert kinds(correct(h, ("A", 1, 12.0, 9), 9.0)) == ["withdrawn"]
    assert correct(h, ("A", 1, 9.0, 9), 12.0) == []
    assert correct(h, ("A", 1, 12.0, 9)) == []


def test_what_is_said_of_an_alert_within_a_second_has_times_of_its_own() -> None:
    h = hosted(r="price > 10")
    h.clock(T0)
    said = trade(h, ("A", 0.4, 11.0, 2))
    said += correct(h, ("A", 0.4, 11.0, 2), 12.0)
    said += correct(h, ("A", 0.4, 12.0, 2), 13.0)
    said += correct(h, ("A", 0.4, 13.0, 2))
    assert kinds(said) == ["fired", "amended", "amended", "withdrawn"]
    assert [one["ts_ns"] - said[0]["ts_ns"] for one in said] == [0, 1_000, 2_000, 3_000]


def test_a_withdrawn_alert_gives_its_cooldown_back() -> None:
    h = hosted(r={"when": "price > 10", "cooldown": 300})
    trade(h, ("A", 0, 9.0, 1))
    (first,) = trade(h, ("A", 1, 11.0, 2))
    correct(h, ("A", 1, 11.0, 2))
    (second,) = trade(h, ("A", 2, 12.0, 3))
    assert (second["kind"], second["price"], second["id"] != first["id"]) == ("fired", 12.0, True)
    assert trade(h, ("A", 3, 9.0, 4), ("A", 4, 12.0, 5)) == []


def test_an_amended_alert_keeps_its_cooldown() -> None:
    h = hosted(r={"when": "price > 10", "cooldown": 300})
    trade(h, ("A", 1, 11.0, 2))
    correct(h, ("A", 1, 11.0, 2), 12.0)
    assert trade(h, ("A", 2, 9.0, 3), ("A", 3, 12.0, 4)) == []


def test_the_cooldown_of_a_newer_alert_stays() -> None:
    h = hosted(r={"when": "price > 10", "cooldown": 1})
    trade(h, ("A", 1, 11.0, 2), ("A", 2, 9.0, 3), ("A", 3, 11.0, 4))
    correct(h, ("A", 1, 11.0, 2))
    assert trade(h, ("A", 3.1, 9.0, 5), ("A", 3.2, 11.0, 6)) == []


def test_every_rule_that_fired_at_the_print_is_told() -> None:
    h = hosted(a="price > 10", b="price < 20", c="price > 10.5")
    trade(h, ("A", 1, 11.0, 2))
    assert kinds(correct(h, ("A", 1, 11.0, 2), 10.2)) == ["amended", "amended", "withdrawn"]


def test_a_rule_that_changed_withdraws_on_a_cancel_and_judges_nothing() -> None:
    h = hosted(r="price > 10")
    trade(h, ("A", 1, 11.0, 2), ("B", 1, 11.0, 2))
    h.send("control", version=[2], body=[json.dumps({"rules": []})])
    assert correct(h, ("A", 1, 11.0, 2), 9.0) == []
    assert kinds(correct(h, ("B", 1, 11.0, 2))) == ["withdrawn"]


@pytest.mark.parametrize("is_one_frame", [True, False])
def test_alerts_of_the_last_hour_are_known_and_older_ones_stay(is_one_frame: bool) -> None:
    h = hosted(r="price > 10")
    hour = withdrawals.WINDOW_NS // SECOND_NS
    trades = [("A", 0, 11.0, 1), ("B", 1, 11.0, 1), *((f"S{k}", 2, 11.0, 1) for k in range(700))]
    trades.append(("C", hour + 1, 11.0, 1))
    for some in [trades] if is_one_frame else [[one] for one in trades]:
        trade(h, *some)
    assert correct(h, ("A", 0, 11.0, 1)) == []
    for known in trades[1:3] + trades[-2:]:
        assert kinds(correct(h, known)) == ["withdrawn"]


@pytest.mark.parametrize("is_one_frame", [True, False])
def test_in_a_storm_the_newest_alerts_are_known(
    is_one_frame: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    h = hosted(r="price > 10")
    trades = [(f"S{k}", 1, 11.0, 1) for k in range(20)]
    trade(h, trades[0])
    letters = len(str(h.state("scanner")["caused"])) + 1
    monkeypatch.setattr(withdrawals, "LETTERS_MAX", 5 * (letters + 5))
    for some in [trades[1:]] if is_one_frame else [[one] for one in trades[1:]]:
        trade(h, *some)
    assert correct(h, trades[14]) == []
    assert kinds(correct(h, trades[15])) == ["withdrawn"]
    assert kinds(correct(h, trades[19])) == ["withdrawn"]


# -- cuts and restarts

RULES = {
    "a": {"when": "price > 10", "cooldown": 2},
    "b": {"when": "price crosses above 10.2", "cooldown": 0},
    "c": {"when": "price < 9.9 or price > 10.5", "once_per": "1m", "cooldown": 0},
}


def market(seed: int) -> list[tuple[Any, ...]]:
    """Trades, corrections of some of the newest, and clocks."""
    draw = np.random.default_rng(seed)
    events: list[tuple[Any, ...]] = []
    came: list[Trade] = []
    for number in range(1, 60):
        second = number / 4
        one = (str(draw.choice(["A", "B"])), second, float(round(draw.normal(10, 0.4), 2)), number)
        came.append(one)
        events.append(("trade", one))
        if draw.random() < 0.35:
            wrong = came.pop(-int(draw.integers(1, min(len(came), 6) + 1)))
            price = float(round(draw.normal(10, 0.4), 2)) if draw.random() < 0.5 else np.nan
            events.append(("correct", wrong, price))
            if price > 0:
                came.append((*wrong[:2], price, wrong[3]))
        if draw.random() < 0.1:
            events.append(("clock", T0 + round(second * SECOND_NS)))
    return events


def run(events: list[tuple[Any, ...]], width: int, restarts: int = 0) -> list[dict[str, Any]]:
    """Everything said, with trades in frames of at most `width` and a restart after every so many events."""
    h = hosted(**RULES)
    said: list[dict[str, Any]] = []
    waiting: list[Trade] = []
    for place, (kind, *rest) in enumerate([*events, ("end",)]):
        if waiting and (kind != "trade" or len(waiting) == width):
            said += trade(h, *waiting)
            waiting = []
        if kind == "trade":
            waiting.append(rest[0])
        elif kind == "correct":
            said += correct(h, *rest)
        elif kind == "clock":
            said += told(h.clock(rest[0]))
        if restarts and place % restarts == 0:
            h.crash_and_restore()
    return said


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(0, 7))
def test_what_is_withdrawn_does_not_depend_on_cuts_and_restarts(
    seed: int, width: int, restarts: int
) -> None:
    events = market(seed)
    assert run(events, width, restarts) == run(events, 1000)


@pytest.mark.parametrize("seed", range(4))
def test_an_alert_is_withdrawn_once_and_nothing_is_said_of_it_afterwards(seed: int) -> None:
    fired: dict[str, str] = {}
    for one in run(market(seed), 8):
        assert (one["kind"] == "fired") == (one["id"] not in fired)
        assert fired.get(one["id"]) != "withdrawn"
        fired[one["id"]] = one["kind"]
    assert {"fired", "withdrawn", "amended"} <= set(fired.values()) | {"amended"}


@pytest.mark.parametrize("seed", range(6))
def test_what_stands_in_the_end_is_true_of_the_prints_as_corrected(seed: int) -> None:
    """The twin: an alert stands if every price its print was said to have makes its rule true."""
    holds = {
        "a": lambda price: price > 10,
        "b": lambda price: price > 10.2,
        "c": lambda price: price < 9.9 or price > 10.5,
    }
    events = market(seed)
    prices: dict[int, list[float]] = {}
    for kind, *rest in events:
        if kind == "trade":
            _, _, price, number = rest[0]
            prices[number] = [price]
        elif kind == "correct":
            prices[rest[0][3]].append(rest[1])
    stands: dict[str, dict[str, Any]] = {one["id"]: one for one in run(events, 5)}
    assert any(one["kind"] != "withdrawn" for one in stands.values())
    for one in stands.values():
        (number,) = json.loads(one["causes"])["trade_ids"]
        first_leaf = json.loads(one["explain"])["leaves"][0]["text"]
        name = {"price > 10": "a", "price crosses above 10.2": "b"}.get(first_leaf, "c")
        assert (one["kind"] != "withdrawn") == all(holds[name](price) for price in prices[number])
        assert one["kind"] == "withdrawn" or one["price"] == prices[number][-1]
