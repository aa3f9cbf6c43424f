"""Minute bars as a feed: the prints each stands for, then the bar itself, then the clock that ends its minute.

What is known of the way within a minute is four prices. They come as five prints in the last
nanoseconds of the minute: the open, both extremes (which may set high and low only), the volume at the
bar's VWAP (typical price where it has none), which stands for its number of trades, and the close.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.frames import Array
from runtime.providers import END_NS, MINUTE_NS, SECOND_NS, Batch, clock_batch
from runtime.providers.history import by_time
from runtime.providers.symbols import normal_table

VOLUME, LAST_AND_EXTREMES, EXTREMES = 1, 6, 4  # bits of `upd`
PRINTS_OF_BAR = 5
CLOSED = "bars.final"
MOST_EMPTY_MINUTES = (
    24 * 60
)  # longer gaps are crossed in one step: rings of minutes are empty by then


@dataclass(frozen=True)
class Bars:
    """Bars in order of time, one per symbol and minute.

    symbols  the names `index` points to
    columns  the `bars` record: ts_ns (start of the minute), open, high, low, close, volume, vwap, count, revision
    """

    symbols: list[str]
    index: Array
    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(self.index)

    def chosen(self, keep: Array) -> Bars:
        """The bars of a mask."""
        return Bars(
            self.symbols, self.index[keep], {name: v[keep] for name, v in self.columns.items()}
        )

    def named(self) -> dict[str, Any]:
        """The columns with the symbol of each bar, as reports are given them."""
        return {"symbol": np.array(self.symbols, dtype=object)[self.index], **self.columns}


def bars_of(parts: list[dict[str, Any]]) -> Bars:
    """Bars that `read_bars` gave, in order of time; of one symbol and minute the last one stays.

    Symbols are spelled as `runtime.providers.symbols` says; test symbols are left out.
    """
    symbols = [symbol for part in parts for symbol in part["symbol"]]
    spelled = normal_table(symbols)
    place: dict[str, int] = {}
    code = {
        one: place.setdefault(spelled[one], len(place)) if one in spelled else -1
        for one in dict.fromkeys(symbols)
    }
    index = np.fromiter(map(code.__getitem__, symbols), dtype=np.int64, count=len(symbols))
    names = ("open", "high", "low", "close", "volume", "vwap", "count")
    columns: dict[str, Array] = {
        name: np.concatenate([part[name] for part in parts]) for name in names
    }
    minute = np.concatenate([part["ts_ns"] for part in parts]) // MINUTE_NS
    columns["ts_ns"] = minute * MINUTE_NS
    order = _order(minute, index, len(place))
    return Bars(list(place), index[order], _whole({n: v[order] for n, v in columns.items()}))


def _order(minute: Array, index: Array, symbols: int) -> Array:
    """Positions by minute and symbol, without those of no symbol and those that a later one replaces."""
    key = minute * (symbols + 1) + index
    order = np.argsort(key, kind="stable")
    is_last = np.append(key[order][1:] != key[order][:-1], True)[: len(order)]
    order = order[is_last]
    return np.asarray(order[index[order] >= 0])


def _whole(columns: dict[str, Array]) -> dict[str, Array]:
    """The columns of the `bars` record, with what a file leaves out."""
    typical = (columns["high"] + columns["low"] + columns["close"]) / 3.0
    columns["vwap"] = np.where(np.isfinite(columns["vwap"]), columns["vwap"], typical)
    columns["count"] = np.nan_to_num(columns["count"], nan=1.0).astype(np.int64)
    columns["revision"] = np.zeros(len(typical), dtype=np.int32)
    return columns


class BarFeed:
    """Bars as a provider: of each minute its prints, its bars where they are asked for, its clock event.

    A batch names just the symbols in it. The clock ticks at whole minutes only. Where bars come with their prints, who makes bars of prints
    is not needed.
    """

    name = "bars"
    speed = 0.0
    warm_ns = 0

    def __init__(self, bars: Bars, is_closing: bool = True, minutes: Array | None = None) -> None:
        """`minutes`: when minutes of the market begin, in ns, where `bars` are of some symbols only."""
        self._bars = bars
        self._is_closing = is_closing
        self._minutes = np.unique(bars.columns["ts_ns"]) if minutes is None else minutes

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """Every minute after event time `after_ns`."""
        times = self._bars.columns["ts_ns"]
        firsts = np.searchsorted(times, self._minutes).tolist()
        lasts = np.searchsorted(times, self._minutes, side="right").tolist()
        clock_ns = 0
        for start, first, last in zip(self._minutes.tolist(), firsts, lasts, strict=True):
            if start < after_ns:
                continue
            yield from self._clocks(clock_ns, start)
            if last > first:
                yield from self._minute(slice(first, last))
            clock_ns = start + MINUTE_NS
            yield clock_batch(np.array([clock_ns]))
        if clock_ns:
            yield clock_batch(np.array([clock_ns + END_NS - SECOND_NS]))

    def _clocks(self, before_ns: int, until_ns: int) -> Iterator[Batch]:
        """Every whole minute between; of what is longer than a day, the last day's."""
        first = max(before_ns + MINUTE_NS, until_ns - MOST_EMPTY_MINUTES * MINUTE_NS)
        times = np.arange(first, until_ns + 1, MINUTE_NS, dtype=np.int64)
        if not before_ns:
            times = times[-1:]
        if len(times):
            yield clock_batch(times)

    def _minute(self, rows: slice) -> Iterator[Batch]:
        columns = {name: values[rows] for name, values in self._bars.columns.items()}
        symbols = [self._bars.symbols[one] for one in self._bars.index[rows].tolist()]
        place = np.arange(len(symbols))
        yield prints_of_minute(columns, symbols, place)
        if self._is_closing:
            yield ClosedBars("bars", columns, symbols, place)


class ClosedBars(Batch):
    """Bars as the function says them that makes them of prints."""

    @property
    def base(self) -> str:
        return CLOSED


def prints_of(parts: list[dict[str, Any]]) -> Iterator[Batch]:
    """The prints of bars that `read_bars` gave, minute by minute."""
    symbols = [symbol for part in parts for symbol in part["symbol"]]
    columns = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
        if name != "symbol"
    }
    table, index = np.unique(np.array(symbols, dtype=str), return_inverse=True)
    for _, rows in by_time(columns["ts_ns"]):
        yield prints_of_minute(
            {name: values[rows] for name, values in columns.items()}, table.tolist(), index[rows]
        )


def prints_of_minute(bars: Mapping[str, Array], symbols: list[str], index: Array) -> Batch:
    """The prints of the bars of one minute."""
    o, h, low, c = (bars[name] for name in ("open", "high", "low", "close"))
    is_up = c >= o
    typical = np.where(np.isfinite(bars["vwap"]), bars["vwap"], (h + low + c) / 3.0)
    prices = [o, np.where(is_up, low, h), np.where(is_up, h, low), typical, c]
    nothing = np.zeros(len(o))
    sizes = [nothing, nothing, nothing, bars["volume"], nothing]
    flags = [LAST_AND_EXTREMES, EXTREMES, EXTREMES, VOLUME, LAST_AND_EXTREMES]
    count = np.where(np.isfinite(bars["count"]), bars["count"], 1.0)
    counts = [nothing, nothing, nothing, count, nothing]
    ends = bars["ts_ns"] // MINUTE_NS * MINUTE_NS + MINUTE_NS
    columns = {
        "ts_ns": np.concatenate([ends - PRINTS_OF_BAR + k for k in range(PRINTS_OF_BAR)]),
        "price": np.concatenate(prices),
        "size": np.concatenate(sizes),
        "upd": np.repeat(np.array(flags, dtype=np.uint8), len(o)),
        "count": np.concatenate(counts).astype(np.int64),
    }
    return Batch("trades", columns, symbols, np.tile(index, PRINTS_OF_BAR))
