"""Minute bars of the past, told before the first print, are worth what the same minutes were worth as they happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from runtime.chain import Chain
from runtime.frames import Frame
from runtime.loader import Plan
from runtime.metrics import Asked, values_at
from runtime.providers import frame_of
from runtime.providers.minutes import ROWS, minutes_until
from runtime.tables import TableError
from tests.functions.test_metrics import MARKET, MINUTE_NS, NAMES, SUBJECTS, ns
from tests.functions.test_rebuilt import WATCHED

DAYS = [(2026, 3, day) for day in (3, 4, 5, 6)]
ASKED_NS = ns(2026, 3, 6, 10, 47)


def a_day(
    date: tuple[int, int, int], minutes: int, prices: dict[str, float]
) -> dict[str, list[Any]]:
    """Bars of a day from 09:00 on: a busy symbol, and one with a bar every few minutes."""
    draw = np.random.default_rng(date[2])
    columns: dict[str, list[Any]] = {name: [] for name in ("symbol", "ts_ns", "open", "high", "low", "close", "volume", "vwap", "count")}  # fmt: skip
    for minute in range(minutes):
        for symbol, chance in (("AAA", 0.95), ("BBB", 0.2)):
            if draw.random() > chance:
                continue
            first, last = prices[symbol], round(prices[symbol] * (1 + draw.normal(0, 0.002)), 2)
            prices[symbol] = last
            high = round(max(first, last) + draw.random() * 0.05, 2)
            low = round(min(first, last) - draw.random() * 0.05, 2)
            told = (symbol, ns(*date, 9, 0) + minute * MINUTE_NS, first, high, low, last)
            told += (float(draw.integers(100, 900)), round((high + low) / 2, 2), 7.0)
            for name, value in zip(columns, told, strict=True):
                columns[name].append(value)
    return columns


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One file a day; the last one ends at the time asked."""
    folder, prices = tmp_path_factory.mktemp("minutes"), {"AAA": 20.0, "BBB": 50.0}
    found = []
    for date in DAYS:
        length = 107 if date == DAYS[-1] else 420
        found.append(folder / f"{date[2]}.parquet")
        pl.DataFrame(a_day(date, length, prices)).write_parquet(found[-1])
    return found


def values(**given: list[Path]) -> dict[tuple[str, str], float]:
    plan = Plan(chains=(MARKET,))
    found = values_at(plan, SUBJECTS, Asked(NAMES, [ASKED_NS], **given), lambda *_: None)
    keys = zip(found["symbol"], found["name"], strict=True)
    return dict(zip(keys, found["value"].tolist(), strict=True))


def test_told_as_minutes_or_as_they_happened_the_values_are_the_same(files: list[Path]) -> None:
    happened = values(bars=files)
    told = values(minutes=files[:-1], bars=files[-1:])
    differ = {
        key: (told.get(key), value)
        for key, value in happened.items()
        if not np.isclose(told.get(key, np.nan), value, rtol=1e-9, atol=1e-7)
    }
    assert {key for key in differ if not key[1].startswith(WATCHED)} == set()
    assert told.keys() <= happened.keys()
    assert len(told) > 400
    without = {name for _, name in values(bars=files[-1:])}
    assert {"relative_volume", "change_from_close", "ma_dist_ema21_60m_pct"} & without == set()
    assert {"change_from_close", "ma_dist_ema21_60m_pct"} <= {name for _, name in told}


def test_what_is_told_again_counts_once(files: list[Path]) -> None:
    chain = Chain(MARKET, SUBJECTS, 0)
    clock_ns = ns(2026, 3, 6, 9, 0)

    def tell(start: int) -> dict[str, Any]:
        for number, batch in enumerate(minutes_until(files[:-1], clock_ns), start):
            for output in chain.run_frame(batch.base, frame_of(batch, "test")):
                assert output.base != "dead", (number, output.data)
        state = {}
        for name in ("scanner", "indicators"):
            for column, held in chain.table(name).columns().items():
                state[name, column] = np.copy(held).tobytes()
        return state

    first = tell(1)
    assert tell(10) == first
    chain.run_frame("ticks.clock", Frame({"ts_ns": np.array([clock_ns])}))
    later = tell(20)
    assert later == tell(30)
    assert len(first) > 100


def test_only_minutes_that_are_over_are_told_and_in_bounded_batches(files: list[Path]) -> None:
    until_ns = ns(2026, 3, 3, 9, 30) + 1
    batches = list(minutes_until(files, until_ns))
    times = np.concatenate([batch.columns["ts_ns"] for batch in batches])
    assert times.max() == ns(2026, 3, 3, 9, 29)
    assert (np.diff(times) >= 0).all()
    assert max(map(len, batches)) <= 2 * ROWS


def test_files_that_go_back_in_time_are_refused(files: list[Path]) -> None:
    with pytest.raises(TableError, match="oldest first"):
        values(minutes=[files[1], files[0]], bars=files[-1:])
