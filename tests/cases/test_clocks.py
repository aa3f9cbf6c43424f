"""Cases 58 and 59: clocks that disagree, and symbols that are quiet; and what is told beside a feed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.bus import Bus
from runtime.config import Settings
from runtime.frames import decode
from runtime.ingest import run_ingest
from runtime.providers import Batch, clocked
from runtime.providers.clocks import Watermark
from runtime.providers.file import FileProvider
from runtime.subjects import Subjects, partition_of
from tests.cases.exchange import ABOVE_10, DAY_NS, MINUTE_NS, SECOND_NS, Exchange, at, day_of
from tests.conftest import Nats

TEN = at(2026, 1, 6, 10, 0)


# -- 58


def test_case_58_an_event_in_the_future_is_kept_and_moves_no_clock() -> None:
    event = TEN + np.array([0, 1, 600, 2, 3]) * SECOND_NS
    received = TEN + np.array([0, 1, 1, 2, 3]) * SECOND_NS + 5_000_000
    columns = {"ts_ns": event, "price": np.ones(5), "size": np.ones(5), "recv_ns": received}
    batches = list(clocked([Batch("trades", columns, ["A"], np.zeros(5, dtype=np.int64))]))
    clocks = np.concatenate([b.columns["ts_ns"] for b in batches if b.kind == "clock"])
    kept = np.concatenate([b.columns["ts_ns"] for b in batches if b.kind == "trades"])
    assert kept.tolist() == event.tolist()
    assert clocks.max() <= TEN + MINUTE_NS + 2 * SECOND_NS
    assert clocks[:4].tolist() == [TEN + k * SECOND_NS for k in range(4)]


@pytest.mark.parametrize("skew_s", [-3.0, -1.27, 0.0, 5.0])
def test_case_58_a_clock_of_ours_that_is_wrong_delays_nothing(skew_s: float) -> None:
    event = TEN + np.arange(50) * 100_000_000
    delay = np.random.default_rng(1).integers(5, 50, 50) * 1_000_000
    mark = Watermark()
    received = event + delay + int(skew_s * SECOND_NS)
    assert mark.advance(event, received).tolist() == event.tolist()
    assert mark.floor_ns == int(skew_s * SECOND_NS) + delay.min()
    late = mark.delay_ns(int(event[0]), int(received[0]) + SECOND_NS)
    assert late == SECOND_NS + delay[0] - delay.min()


def test_case_58_a_clock_that_stepped_is_followed_after_ten_seconds() -> None:
    event = TEN + np.arange(0, 40) * SECOND_NS
    step = np.where(np.arange(40) < 10, 0, -30 * SECOND_NS)  # ours was set back half a minute
    moved = Watermark().advance(event, event + step)
    assert moved[:10].tolist() == event[:10].tolist()
    assert (moved[10:20] == event[9]).all()
    assert moved[20:].tolist() == event[20:].tolist()


@pytest.mark.parametrize("width", [1, 7, 400])
def test_case_58_any_cut_of_a_feed_gives_the_same_clock(width: int) -> None:
    draw = np.random.default_rng(3)
    event = TEN + np.cumsum(draw.integers(0, 4, 400)) * SECOND_NS
    received = event + draw.choice([10, 50, 900], 400) * 1_000_000
    event = event + draw.choice([0, 0, 0, 90], 400) * SECOND_NS
    one_by_one, cut = Watermark(), Watermark()
    expected = [one_by_one.advance(event[k : k + 1], received[k : k + 1])[0] for k in range(400)]
    parts = [
        cut.advance(event[k : k + width], received[k : k + width]) for k in range(0, 400, width)
    ]
    assert np.concatenate(parts).tolist() == expected
    assert (np.diff(expected) >= 0).all()


def test_case_58_one_wrong_stamp_does_not_make_its_symbol_late() -> None:
    exchange = Exchange(ABOVE_10).trade("A", TEN, 9.0).trade("A", TEN + SECOND_NS, 9.1)
    columns = {"ts_ns": [TEN + DAY_NS], "price": [9.2], "size": [50.0]}
    exchange.send("ticks.trades", ["A"], **columns)
    exchange.trade("A", TEN + 2 * SECOND_NS, 11.0)
    assert exchange.fired() == [11.0]
    assert exchange.ask("A", "volume_daily") == 350.0


def test_case_58_the_wall_clock_fires_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(step_s: float) -> list[object]:
        import time

        wall = time.time
        monkeypatch.setattr(time, "time", lambda: wall() + step_s)
        exchange = Exchange(ABOVE_10).trade("A", TEN, 9.0, 11.0).clock(TEN + MINUTE_NS)
        monkeypatch.setattr(time, "time", wall)
        return [exchange.alerts, exchange.bars, exchange.lists]

    assert said(0.0) == said(3600.0) == said(-3600.0)
    assert said(0.0)[1]


def test_case_58_a_recording_with_receipts_is_read_in_order_of_arrival(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    rows = [(0, 0), (300, 1), (1, 1), (2, 2)]
    lines = [f"A,{TEN + e * SECOND_NS},9,1,{TEN + r * SECOND_NS}" for e, r in rows]
    file.write_text("\n".join(["symbol,ts_ns,price,size,recv_ts_ns", *lines]), encoding="utf-8")
    batches = list(FileProvider([file], order="arrival").batches())
    last = next(k for k, b in enumerate(batches) if b.kind == "trades" and TEN + 2 * SECOND_NS in b.columns["ts_ns"])  # fmt: skip
    clocks = [b.columns["ts_ns"].max() for b in batches[:last] if b.kind == "clock"]
    assert max(clocks) == TEN + 2 * SECOND_NS


# -- 59


def test_case_59_a_quiet_symbols_bar_closes_by_the_clock() -> None:
    exchange = Exchange().trade("A", TEN + SECOND_NS, 9.0, 9.5)
    exchange.clock(TEN + 59 * SECOND_NS)
    assert exchange.bars == []
    exchange.clock(TEN + 60 * SECOND_NS)
    assert [(b["symbol"], b["ts_ns"], b["close"]) for b in exchange.bars] == [("A", TEN, 9.5)]


def test_case_59_a_minute_without_trades_has_no_bar() -> None:
    exchange = Exchange().trade("A", TEN, 9.0)
    exchange.clock(*(TEN + k * MINUTE_NS for k in range(1, 5)))
    exchange.trade("A", TEN + 5 * MINUTE_NS, 9.5).clock(TEN + 6 * MINUTE_NS)
    assert [b["ts_ns"] for b in exchange.bars] == [TEN, TEN + 5 * MINUTE_NS]
    assert exchange.ask("A", "volume_5m", "change_2m") == {"volume_5m": 100.0, "change_2m": 0.5}


# -- what is told beside a live feed


async def published(bus: Bus, subjects: Subjects, symbol: str) -> list[tuple[str, int]]:
    """(base subject, first time) of every message of a symbol's partition, in stream order."""
    partition = partition_of(symbol, subjects.partitions)
    found = []
    for base in ("ticks.clock", "ticks.minutes", "ticks.daily", "ticks.reference", "ticks.trades"):
        for message in await bus.history("MARKET", f"{base}.{partition}", 1000):
            frame = decode(message.data, subjects.record_of(base))
            found.append((message.sequence, base, int(frame["ts_ns"][0])))
    return [(base, ts_ns) for _, base, ts_ns in sorted(found)]


async def test_what_is_known_is_published_before_the_first_tick_and_may_come_again(
    tmp_path: Path, nats: Nats, subjects: Subjects
) -> None:
    trades, daily, facts = (tmp_path / f"{name}.csv" for name in ("trades", "daily", "facts"))
    trades.write_text(f"symbol,ts_ns,price,size\nA,{TEN},11,100\nA,{TEN + SECOND_NS},12,100\n")
    daily.write_text(
        "symbol,date,open,high,low,close,volume\n"
        "A,2026-01-02,9,9,9,9,1000\nA,2026-01-05,10,10,10,10,1000\nA,2026-01-06,11,11,11,11,1\n"
    )
    facts.write_text("symbol,float\nA,5000000\n")
    minutes = tmp_path / "minutes.csv"
    minutes.write_text(
        f"symbol,ts_ns,open,high,low,close,volume\nA,{TEN - MINUTE_NS},9,9,9,9,5\nA,{TEN + 10 * MINUTE_NS},9,9,9,9,5\n"
    )
    url = f"file://{trades}?speed=max"
    files = {"daily": [daily], "reference": [str(facts)], "minutes": [minutes]}
    await run_ingest(Settings(), subjects, nats.url, [url], **files)
    told = await published(nats.bus, subjects, "A")
    first_trade = next(k for k, (base, _) in enumerate(told) if base == "ticks.trades")
    before = [base for base, _ in told[:first_trade]]
    assert before[0] == "ticks.clock"
    assert before[1] == "ticks.minutes"
    assert set(before) == {"ticks.clock", "ticks.minutes", "ticks.daily", "ticks.reference"}
    assert [ts for base, ts in told if base == "ticks.minutes"] == [TEN - MINUTE_NS]
    days = [ts for base, ts in told if base == "ticks.daily"]
    assert day_of(2026, 1, 6) not in days  # that day is not over
    await run_ingest(Settings(), subjects, nats.url, [url], True, **files)
    again = await published(nats.bus, subjects, "A")
    assert [one for one in again if one[0] != "ticks.clock"] == [
        one for one in told if one[0] != "ticks.clock"
    ]


def test_a_backtest_is_told_what_files_know(tmp_path: Path) -> None:
    from runtime.providers import backtest_events

    trades, daily = tmp_path / "trades.parquet", tmp_path / "daily.parquet"
    pl.DataFrame({"symbol": ["A"], "ts_ns": [TEN], "price": [11.0], "size": [1.0]}).write_parquet(trades)  # fmt: skip
    bar = {name: [10.0] for name in ("open", "high", "low", "close", "volume")}
    pl.DataFrame({"symbol": ["A"], "ts_ns": [day_of(2026, 1, 5)], **bar}).write_parquet(daily)
    exchange = Exchange()
    for base, frame in backtest_events([str(trades)], lambda *_: None, [daily]):
        exchange.run(base, frame)
    assert exchange.ask("A", "change_from_close") == 1.0
