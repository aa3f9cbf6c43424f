"""Cases 36 to 41: halts, auctions, price bands and the market-wide breaker."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from functions.market import halts
from functions.market.running import runs_of
from runtime.providers.file import FileProvider
from tests.cases.exchange import ABOVE_10, DAY_NS, MINUTE_NS, SECOND_NS, Exchange, at

OPEN = at(2026, 1, 6, 9, 30)  # a Tuesday
TEN = at(2026, 1, 6, 10, 0)


def traded(*rules: Any, **settings: Any) -> Exchange:
    """A symbol and the market's stand-in, each with some prints before ten o'clock."""
    exchange = Exchange(*rules, **settings)
    for minute in range(20, 30):
        exchange.trade("A", OPEN + minute * MINUTE_NS, 9.0 + minute / 100)
    return exchange.trade("SPY", TEN - SECOND_NS, 600.0)


# -- 36


@pytest.mark.parametrize(
    ("action", "reason", "means"),
    [
        ("2", "D", "halted"),
        ("2", "M", "paused"),
        ("3", "D", "trading"),
        ("H", "LUDP", "paused"),
        ("H", "LUDS", "paused"),
        *(("H", reason, "halted") for reason in ("T1", "T2", "T5", "T8", "T12", "H4", "H9", "H10", "H11", "IPO1")),
        ("H", "T3", "halted"),
        ("P", "", "paused"),
        ("Q", "T3", "quoting only"),
        ("T", "T3", "trading"),
        ("T", "MWC1", "trading"),
        *(("H", reason, "halted market-wide") for reason in ("MWC0", "MWC1", "MWC2", "MWC3")),
        ("H", "a reason of tomorrow", "halted"),
    ],
)  # fmt: skip
def test_case_36_each_tapes_codes_mean_what_they_mean(action: str, reason: str, means: str) -> None:
    assert halts.MEANINGS[halts.meaning(1, action, reason)] == means


def test_case_36_codes_that_are_no_news_of_trading_change_nothing() -> None:
    exchange = traded().status("A", TEN, action="H", reason="T1")
    exchange.status("A", TEN + 1, action="5")  # a price indication before the re-opening
    exchange.status("A", TEN + 2, code=2)
    assert exchange.state("halted", "A") == halts.HALTED


def test_case_36_quotes_resume_before_trading_does() -> None:
    exchange = traded(ABOVE_10).status("A", TEN, action="H", reason="LUDP")
    exchange.status("A", TEN + 5 * MINUTE_NS, action="Q")
    exchange.trade("A", TEN + 6 * MINUTE_NS, 11.0)
    assert exchange.fired() == [600.0]
    exchange.status("A", TEN + 7 * MINUTE_NS, action="T", code=0)
    exchange.trade("A", TEN + 7 * MINUTE_NS, 11.0)
    assert exchange.fired() == [600.0, 11.0]


def test_case_36_a_halt_with_a_resumption_time_ends_at_it() -> None:
    ends = TEN + 10 * MINUTE_NS
    exchange = traded(ABOVE_10).status("A", TEN, reason="T3", resume_ns=ends)
    exchange.trade("A", ends - SECOND_NS, 11.0)
    exchange.trade("A", ends, 11.0)
    assert exchange.fired() == [600.0, 11.0]
    assert exchange.state("halted", "A") == halts.TRADING


def test_case_36_a_halt_learnt_after_a_restart_counts_from_when_it_began() -> None:
    exchange = traded(ABOVE_10).restart()
    exchange.clock(TEN + 20 * MINUTE_NS).status("A", TEN, reason="T12")
    exchange.trade("A", TEN + 21 * MINUTE_NS, 11.0)
    exchange.restart().trade("A", TEN + 22 * MINUTE_NS, 12.0)
    assert exchange.fired() == [600.0]
    assert exchange.state("halted_ns", "A") == TEN


def test_case_36_older_news_does_not_undo_newer() -> None:
    exchange = traded().status("A", TEN + SECOND_NS, code=0).status("A", TEN, reason="T1")
    assert exchange.state("halted", "A") == halts.TRADING


def random_statuses(seed: int) -> dict[str, list[Any]]:
    draw = np.random.default_rng(seed)
    n = 40
    return {
        "ts_ns": (TEN + np.cumsum(draw.integers(-2, 6, n)) * SECOND_NS).tolist(),
        "code": draw.choice([0, 1, 1, 2], n).tolist(),
        "action": draw.choice(["", "", "H", "T", "Q", "P", "5"], n).tolist(),
        "reason": draw.choice(["", "LUDP", "T1"], n).tolist(),
        "resume_ns": draw.choice([0, 0, TEN + DAY_NS], n).tolist(),
        "symbol": draw.choice(["A", "B"], n).tolist(),
    }


def slow_halts(events: dict[str, list[Any]]) -> dict[str, tuple[int, int, int, int]]:
    """The twin: one status after the other."""
    known: dict[str, tuple[int, int, int, int]] = {"A": (0, 0, 0, 0), "B": (0, 0, 0, 0)}
    newest = {"A": 0, "B": 0}
    for k, symbol in enumerate(events["symbol"]):
        ts, resume = events["ts_ns"][k], events["resume_ns"][k]
        told = halts.meaning(events["code"][k], events["action"][k], events["reason"][k])
        if told == halts.NO_CHANGE or ts < newest[symbol]:
            continue
        newest[symbol] = ts
        before, halted, resumed, resumes = known[symbol]
        if told == 0:
            known[symbol] = (0, 0, ts if before else resumed, 0)
        elif before == 0:
            known[symbol] = (told, ts, resumed, resume)
        else:
            known[symbol] = (told, halted, resumed, resume or resumes)
    return known


@pytest.mark.parametrize("width", [1, 7, 40])
@pytest.mark.parametrize("seed", range(5))
def test_case_36_any_cut_of_statuses_is_what_the_slow_twin_says(seed: int, width: int) -> None:
    events, exchange = random_statuses(seed), Exchange()
    exchange.trade("A", TEN - MINUTE_NS, 9.0).trade("B", TEN - MINUTE_NS, 9.0)
    for start in range(0, 40, width):
        part = {name: values[start : start + width] for name, values in events.items()}
        exchange.send("ticks.status", part.pop("symbol"), **part)
    names = ("halted", "halted_ns", "resumed_ns", "resume_ns")
    found = {s: tuple(int(exchange.state(name, s)) for name in names) for s in ("A", "B")}
    assert found == slow_halts(events)


# -- 37


def test_case_37_prints_in_a_halt_count_and_fire_nothing() -> None:
    exchange = traded(ABOVE_10).status("A", TEN, reason="T1")
    before = exchange.ask("A", "volume_daily")
    exchange.trade("A", TEN + SECOND_NS, 11.0, 12.0)
    assert exchange.fired() == [600.0]
    assert exchange.ask("A", "volume_daily") == before + 200


# -- 38


def test_case_38_a_halted_symbol_stays_on_the_lists_until_it_is_stale_after_the_halt() -> None:
    exchange = traded().trade("B", TEN - SECOND_NS, 5.0).status("A", TEN)
    exchange.clock(TEN + 20 * MINUTE_NS)
    assert exchange.lists["volume_1d"] == ["A"]  # B, which nobody halted, left after five minutes
    exchange.status("A", TEN + 20 * MINUTE_NS, code=0)
    exchange.clock(TEN + 24 * MINUTE_NS)
    assert exchange.lists["volume_1d"] == ["A"]
    exchange.clock(TEN + 26 * MINUTE_NS)
    assert exchange.lists == {}


def test_case_38_who_was_halted_on_another_day_is_on_no_list() -> None:
    exchange = traded().status("A", TEN, reason="T12").clock(TEN + DAY_NS)
    assert exchange.lists == {}


def test_case_38_windows_stand_still_in_a_halt() -> None:
    names = ("volume_5m", "change_pct_5m", "range_5m")
    exchange = traded().clock(TEN)
    before = exchange.ask("A", *names)
    exchange.status("A", TEN)
    exchange.clock(*(TEN + k * MINUTE_NS for k in range(1, 31)))
    assert exchange.ask("A", *names) == before
    assert before["volume_5m"] == 500
    exchange.status("A", TEN + 30 * MINUTE_NS, code=0).clock(TEN + 31 * MINUTE_NS)
    assert exchange.ask("A", "volume_5m") == 0


def test_case_38_a_forecast_stands_still_in_a_halt() -> None:
    names = ("relative_volume_1m", "relative_volume_5m", "running_up_60s")
    exchange = Exchange()
    for minute in range(60):
        exchange.trade("A", OPEN + minute * MINUTE_NS, 9.0 + minute / 100)
    halted_ns = OPEN + 59 * MINUTE_NS + 20 * SECOND_NS
    exchange.clock(halted_ns)
    before = exchange.ask("A", *names)
    exchange.status("A", halted_ns)
    exchange.clock(*(halted_ns + k * SECOND_NS for k in (1, 39, 60, 600)))
    assert exchange.ask("A", *names) == before == {"relative_volume_1m": 300.0, "relative_volume_5m": pytest.approx(115.384615), "running_up_60s": 0.01}  # fmt: skip


def test_case_38_windows_outlast_the_minutes_they_were_made_of() -> None:
    names = ("volume_15m", "volume_60m", "range_15m")
    halted_ns = TEN + 10 * MINUTE_NS  # so long after its last print that no list asks for it
    before = traded().clock(halted_ns).ask("A", *names)
    exchange = traded().clock(halted_ns).status("A", halted_ns)
    assert exchange.clock(halted_ns + 70 * MINUTE_NS).ask("A", *names) == before
    assert before == {"volume_15m": 500.0, "volume_60m": 1000.0, "range_15m": 0.04}


# -- 39


def test_case_39_bands_are_absent_before_the_first_of_the_day() -> None:
    names = ("limit_state_s", "dist_to_limit_up_pct")
    exchange = traded().clock(TEN)
    assert exchange.ask("A", *names) == dict.fromkeys(names)
    exchange.status("A", TEN, code=2, limit_up=10.0, limit_down=8.0)
    assert exchange.ask("A", *names) == {"limit_state_s": 0.0, "dist_to_limit_up_pct": 7.1}
    exchange.trade("A", OPEN + DAY_NS + SECOND_NS, 9.0)
    assert exchange.ask("A", "limit_state_s") is None  # yesterday's bands hold no more
    exchange.status("A", OPEN + DAY_NS + 5 * SECOND_NS, code=2, limit_up=9.5, limit_down=8.5)
    assert exchange.ask("A", "limit_state_s") == 0.0
    exchange.clock(at(2026, 1, 7, 16, 1))
    assert exchange.ask("A", "limit_state_s") is None  # there are none outside regular hours


def test_case_39_a_band_update_is_no_news_of_trading() -> None:
    exchange = traded().status("A", TEN, reason="LUDP")
    exchange.status("A", TEN + SECOND_NS, code=2, limit_up=10.0, limit_down=8.0)
    assert exchange.state("halted", "A") == halts.PAUSED
    assert exchange.state("limit_up", "A") == 10.0


def test_case_39_a_limit_state_of_fifteen_seconds_then_a_pause() -> None:
    long = {"id": "limit", "name": "Limit", "cooldown": 0, "conditions": [{"metric": "limit_state_s", "operator": ">=", "value": halts.LIMIT_STATE_S}]}  # fmt: skip
    exchange = traded(long).status("A", TEN, code=2, limit_up=10.0, limit_down=8.0)
    exchange.trade("A", TEN + SECOND_NS, 9.9, 10.0)
    exchange.clock(TEN + 10 * SECOND_NS)
    assert exchange.ask("A", "limit_state_s") == pytest.approx(8.999)
    exchange.trade("A", TEN + 15 * SECOND_NS, 10.0)
    assert exchange.alerts == []
    exchange.trade("A", TEN + 17 * SECOND_NS, 10.0)
    assert exchange.fired() == [10.0]
    exchange.status("A", TEN + 18 * SECOND_NS, action="P", reason="LUDP")
    assert exchange.state("halted", "A") == halts.PAUSED
    assert exchange.ask("A", "limit_state_s") == 0.0


def test_case_39_a_print_within_the_bands_ends_the_limit_state() -> None:
    exchange = traded().status("A", TEN, code=2, limit_up=10.0, limit_down=8.0)
    exchange.trade("A", TEN + SECOND_NS, 8.0).trade("A", TEN + 5 * SECOND_NS, 8.1, 8.0)
    exchange.clock(TEN + 6 * SECOND_NS)
    assert exchange.ask("A", "limit_state_s") == pytest.approx(0.999)


@pytest.mark.parametrize("width", [1, 3, 60])
@pytest.mark.parametrize("seed", range(3))
def test_case_39_any_cut_of_prints_is_what_the_slow_twin_says(seed: int, width: int) -> None:
    draw = np.random.default_rng(seed)
    row, price = draw.integers(0, 3, 60), draw.choice([8.0, 8.0, 9.0, 10.0, 10.5], 60)
    ts_ns = TEN + np.arange(60)
    state = {
        "limit_up": np.array([10.0, 10.0, 0.0]),
        "limit_down": np.array([8.0, 9.0, 0.0]),
        "limit_ns": np.zeros(3, dtype=np.int64),
    }
    since, expected, found = [0, 0, 0], [], []
    for k, one in enumerate(row.tolist()):
        is_at = state["limit_up"][one] > 0 and not (state["limit_down"][one] < price[k] < 10.0)
        since[one] = (since[one] or int(ts_ns[k])) if is_at else 0
        expected.append(since[one])

    for start in range(0, 60, width):
        part = slice(start, start + width)
        events = SimpleNamespace(memo={}, price=price[part], ts_ns=ts_ns[part])
        halts.watch_limits(state, runs_of(row[part]), events)
        found += events.memo.get("limit_ns", np.zeros(len(price[part]))).tolist()
    assert found == expected


# -- 40


def test_case_40_the_official_open_is_not_the_first_trade() -> None:
    exchange = Exchange().trade("A", OPEN, 9.0, 9.1)
    assert exchange.ask("A", "change_from_open") == pytest.approx(0.1)
    exchange.trade("A", OPEN + SECOND_NS, 9.05, upd=8)
    exchange.trade("A", OPEN + 2 * SECOND_NS, 9.2)
    assert exchange.ask("A", "change_from_open") == pytest.approx(0.15)
    assert exchange.ask("A", "volume_daily") == 300  # the official print has no volume


def test_case_40_the_official_close_comes_after_four_and_changes_are_from_it() -> None:
    close = at(2026, 1, 6, 16, 0)
    exchange = Exchange().trade("A", close - SECOND_NS, 9.0)
    exchange.trade("A", close + 10 * SECOND_NS, 9.5)
    assert exchange.ask("A", "change_from_close_postmarket") == pytest.approx(0.5)
    exchange.trade("A", close + 5 * MINUTE_NS, 9.2, upd=16)
    assert exchange.ask("A", "change_from_close_postmarket") == pytest.approx(0.3)
    exchange.trade("A", close + 6 * MINUTE_NS, 9.0, upd=7)
    exchange.trade("A", at(2026, 1, 7, 9, 31), 10.0)
    assert exchange.ask("A", "change_from_close") == pytest.approx(0.8)


def test_case_40_a_files_conditions_m_and_q_are_official_prints(tmp_path: Any) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "symbol,ts_ns,price,size,conditions\n"
        f"A,{OPEN},9,100,@\nA,{OPEN + 1},9.05,100,Q\nA,{at(2026, 1, 6, 16, 2)},9.2,100,M\n",
        encoding="utf-8",
    )
    parts = [b.columns["upd"] for b in FileProvider([file]).batches() if b.kind == "trades"]
    assert np.concatenate(parts).tolist() == [7, 8, 16]


# -- 41


def breaker(exchange: Exchange, level: int, ts_ns: int) -> None:
    """Every symbol is halted by its own status, as the tapes do it."""
    for symbol in ("A", "SPY", "C"):
        exchange.status(symbol, ts_ns, action="H", reason=f"MWC{level}")


def test_case_41_a_market_wide_breaker_is_one_alert_and_pauses_every_rule() -> None:
    exchange = traded(ABOVE_10).trade("B", TEN - SECOND_NS, 5.0)
    exchange.alerts = []
    breaker(exchange, 1, TEN)
    exchange.trade("B", TEN + MINUTE_NS, 11.0)  # no status of its own reached us
    assert [(a["symbol"], a["rule_id"], a["rule_name"], a["ts_ns"]) for a in exchange.alerts] == [
        ("SPY", "market_wide_breaker", "Market-wide breaker, level 1", TEN)
    ]
    exchange.trade("B", TEN + 15 * MINUTE_NS, 9.0, 11.0)
    assert exchange.alerts[-1]["symbol"] == "B"


def test_case_41_each_level_is_told_once_a_day_and_a_restart_repeats_none() -> None:
    exchange = traded()
    for level, minute in itertools.product((1, 2, 3), (0, 1)):
        breaker(exchange, level, TEN + (level * 30 + minute) * MINUTE_NS)
        exchange.restart()
    assert [a["rule_name"][-1] for a in exchange.alerts] == ["1", "2", "3"]
    breaker(exchange, 1, TEN + DAY_NS)
    assert len({a["id"] for a in exchange.alerts}) == 4


def test_case_41_level_three_lasts_for_the_day() -> None:
    exchange = traded(ABOVE_10).trade("B", TEN - SECOND_NS, 5.0)
    breaker(exchange, 3, TEN)
    exchange.alerts = []
    exchange.trade("B", TEN + 200 * MINUTE_NS, 11.0)
    assert exchange.alerts == []
    exchange.trade("B", TEN + DAY_NS, 11.0)
    assert exchange.fired() == [11.0]


def test_case_41_the_partition_without_the_markets_symbol_says_nothing_and_pauses() -> None:
    exchange = traded(ABOVE_10, breaker_symbol="QQQ").trade("B", TEN - SECOND_NS, 5.0)
    exchange.alerts = []
    breaker(exchange, 2, TEN)
    exchange.trade("B", TEN + MINUTE_NS, 11.0)
    assert exchange.alerts == []


def test_case_41_what_trades_around_the_clock_goes_on() -> None:
    exchange = traded(ABOVE_10)
    breaker(exchange, 1, TEN)
    exchange.alerts = []
    exchange.trade("BTC-USD", TEN + MINUTE_NS, 11.0)
    assert exchange.fired() == [11.0]
