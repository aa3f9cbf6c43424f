"""Cases 60 to 63: several sources, reconnects, mute sockets, slow consumers; and what a gap does to rules."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from functions.market.gaps import LASTS_NS, WINDOW_NS
from functions.rules import compile_rules
from tests.cases.exchange import ABOVE_10, MINUTE_NS, SECOND_NS, Exchange, at

TEN = at(2026, 1, 6, 10, 0)  # a Tuesday
CROSSES_10 = {"id": "cross", "name": "Cross", "cooldown": 0, "when": "price crosses above 10"}  # fmt: skip
TRADES, QUOTES = 1, 2


def gap(
    exchange: Exchange,
    ts_ns: int,
    from_ns: int,
    to_ns: int = 0,
    repaired: int = 0,
    what: int = TRADES,
    symbols: tuple[str, ...] = ("A",),
) -> Exchange:
    told = {"ts_ns": ts_ns, "from_ns": from_ns, "to_ns": to_ns, "what": what, "repaired": repaired}
    columns = {name: [value] * len(symbols) for name, value in told.items()}
    return exchange.send("ticks.gaps", symbols, **columns)


def traded(*rules: Any) -> Exchange:
    return Exchange(*rules).trade("A", TEN, 9.0, 9.5)


# -- 61


def test_case_61_nothing_fires_while_a_gap_lasts_and_rules_go_on_when_it_is_repaired() -> None:
    exchange = gap(traded(ABOVE_10), TEN + SECOND_NS, TEN + SECOND_NS)
    exchange.trade("A", TEN + 10 * SECOND_NS, 11.0, 9.0)
    gap(exchange, TEN + 11 * SECOND_NS, TEN + SECOND_NS, TEN + 10 * SECOND_NS)
    exchange.trade("A", TEN + 12 * SECOND_NS, 11.5, 9.0)
    assert exchange.fired() == []
    gap(exchange, TEN + 13 * SECOND_NS, TEN + SECOND_NS, TEN + 10 * SECOND_NS, repaired=1)
    exchange.trade("A", TEN + 14 * SECOND_NS, 12.0)
    assert exchange.fired() == [12.0]


def test_case_61_what_is_sent_to_fill_a_gap_fires_nothing_and_counts() -> None:
    exchange = gap(traded(ABOVE_10), TEN + SECOND_NS, TEN + SECOND_NS)
    for second in range(5, 50):
        exchange.trade("A", TEN + second * SECOND_NS, 11.0, 9.0)
    exchange.send("ticks.trades", ["A"], ts_ns=[TEN + 3 * SECOND_NS], price=[12.0], size=[100.0])
    gap(exchange, TEN + 50 * SECOND_NS, TEN + SECOND_NS, TEN + 5 * SECOND_NS, repaired=1)
    assert exchange.fired() == []
    assert exchange.ask("A", "volume_daily") == 100.0 * (2 + 90 + 1)


def test_case_61_a_rule_that_was_true_before_and_is_after_does_not_fire_again() -> None:
    exchange = Exchange(ABOVE_10).trade("A", TEN, 9.0, 11.0)
    gap(exchange, TEN + SECOND_NS, TEN + SECOND_NS)
    exchange.trade("A", TEN + 2 * SECOND_NS, 11.0, 11.1)
    gap(exchange, TEN + 3 * SECOND_NS, TEN + SECOND_NS, TEN + 2 * SECOND_NS, repaired=1)
    exchange.trade("A", TEN + 4 * SECOND_NS, 11.2)
    assert exchange.fired() == [11.0]


def test_case_61_without_a_repair_rules_wait_until_windows_have_passed() -> None:
    end_ns = TEN + MINUTE_NS
    exchange = gap(traded(ABOVE_10), end_ns, TEN + SECOND_NS, end_ns)
    exchange.trade("A", end_ns + WINDOW_NS - SECOND_NS, 11.0, 9.0)
    assert exchange.fired() == []
    exchange.trade("A", end_ns + WINDOW_NS, 12.0)
    assert exchange.fired() == [12.0]


def test_case_61_crossings_and_levels_begin_anew_after_a_gap() -> None:
    exchange = gap(traded(CROSSES_10), TEN + 5 * SECOND_NS, TEN + SECOND_NS)
    gap(exchange, TEN + 5 * SECOND_NS, TEN + SECOND_NS, TEN + 5 * SECOND_NS, repaired=1)
    assert exchange.state("seen", "A") == 0
    exchange.trade("A", TEN + 6 * SECOND_NS, 11.0)
    assert exchange.fired() == []
    exchange.trade("A", TEN + 7 * SECOND_NS, 9.0, 11.5)
    assert exchange.fired() == [11.5]


@pytest.mark.parametrize(
    ("when", "seconds"), [("(price > 9) held for 30s", 40), ("price > 9 then price > 10 within 60s", 40)]
)  # fmt: skip
def test_case_61_what_was_held_or_awaited_ends_in_a_gap(when: str, seconds: int) -> None:
    def after(is_gapped: bool) -> list[float]:
        rule = {"id": "r", "name": "R", "cooldown": 0, "when": when}
        assert compile_rules(json.dumps({"rules": [rule]})).faults == {}
        exchange = Exchange(rule).trade("A", TEN, 8.0, 9.5)
        if is_gapped:
            gap(exchange, TEN + SECOND_NS, TEN, TEN + SECOND_NS, repaired=1)
        return exchange.trade("A", TEN + 20 * SECOND_NS, 9.6).trade(
            "A", TEN + seconds * SECOND_NS, 10.5
        ).fired()  # fmt: skip

    assert len(after(is_gapped=False)) == 1
    assert after(is_gapped=True) == []


def test_case_61_another_hole_does_not_end_the_gap_that_lasts() -> None:
    exchange = gap(traded(ABOVE_10), TEN + SECOND_NS, TEN + SECOND_NS)
    gap(exchange, TEN + 9 * SECOND_NS, TEN + 8 * SECOND_NS, TEN + 9 * SECOND_NS, repaired=1)
    assert exchange.state("gapped_until_ns", "A") == LASTS_NS
    gap(exchange, TEN + 9 * SECOND_NS, TEN + SECOND_NS, TEN + 9 * SECOND_NS, repaired=1)
    assert exchange.state("gapped_until_ns", "A") == 0


def test_case_61_a_gap_of_one_symbol_bars_no_other_and_outlives_a_restart() -> None:
    exchange = gap(traded(ABOVE_10), TEN + SECOND_NS, TEN + SECOND_NS).restart()
    exchange.trade("A", TEN + 2 * SECOND_NS, 11.0).trade("B", TEN + 2 * SECOND_NS, 9.0, 12.0)
    assert exchange.fired() == [12.0]


def slow_gaps(news: list[tuple[int, int, int, int]]) -> tuple[int, int]:
    """(since, until) after one symbol's news, told one by one."""
    since, until = 0, 0
    for _, from_ns, to_ns, repaired in news:
        if not repaired and not to_ns:
            since = min(since, from_ns) if since else from_ns
            until = LASTS_NS
        elif since and from_ns > since:
            continue
        else:
            known = 0 if until == LASTS_NS else until
            if not repaired:
                until = max(known, to_ns + WINDOW_NS)
            else:
                until = known if known > to_ns + WINDOW_NS else 0
            since = 0
    return since, until


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("width", [1, 3, 40])
def test_case_61_news_of_gaps_is_kept_the_same_on_any_cut(seed: int, width: int) -> None:
    draw = np.random.default_rng(seed)
    symbols = draw.choice(["A", "B"], 40).tolist()
    ts_ns = TEN + np.sort(draw.integers(1, 600, 40)) * SECOND_NS
    from_ns = ts_ns - draw.integers(0, 60, 40) * SECOND_NS
    to_ns = np.where(draw.random(40) < 0.4, 0, ts_ns)
    repaired = np.where(to_ns > 0, draw.integers(0, 2, 40), 0)
    news = list(zip(ts_ns.tolist(), from_ns.tolist(), to_ns.tolist(), repaired.tolist(), strict=True))  # fmt: skip
    exchange = Exchange().trade("A", TEN, 9.0).trade("B", TEN, 9.0)
    for first in range(0, 40, width):
        part = news[first : first + width]
        columns = dict(zip(("ts_ns", "from_ns", "to_ns", "repaired"), zip(*part, strict=True), strict=True))  # fmt: skip
        exchange.send("ticks.gaps", symbols[first : first + width], what=[1] * len(part), **columns)
    for symbol in "AB":
        own = [one for one, of in zip(news, symbols, strict=True) if of == symbol]
        kept = exchange.state("gap_from_ns", symbol), exchange.state("gapped_until_ns", symbol)
        assert kept == slow_gaps(own)


# -- 65


def test_case_65_after_shed_quotes_mid_and_spread_are_absent_until_the_next() -> None:
    exchange = traded(ABOVE_10)
    quote = {"bid": [9.9], "ask": [10.1], "bid_size": [100.0], "ask_size": [100.0]}
    exchange.send("ticks.quotes", ["A"], ts_ns=[TEN + SECOND_NS], **quote)
    assert exchange.ask("A", "mid") == 10.0
    gap(exchange, TEN + 2 * SECOND_NS, TEN + SECOND_NS, TEN + 2 * SECOND_NS, what=QUOTES)
    assert exchange.ask("A", "mid") is None
    exchange.trade("A", TEN + 2 * SECOND_NS, 11.0)
    assert exchange.fired() == [11.0]  # of trades nothing is missing
    exchange.send("ticks.quotes", ["A"], ts_ns=[TEN + 3 * SECOND_NS], **quote)
    assert exchange.ask("A", "mid") == 10.0
