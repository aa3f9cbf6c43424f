"""Recorded trades from CSV, CSV.gz or Parquet files.

Columns: symbol, ts_ns, price, size; `upd` (what a print may update), `id` and `count` where there are.
Without `upd` sale conditions (`conditions`, and `tape` or A) are mapped to it; without both every print
is eligible. Trades whose TAQ `correction` says that they were cancelled are left out. Those with
`cancelled_ns`, or with `corrected_ns`, `corrected_price` and `corrected_size`, are published as first
reported, and put right when event time gets there, as a live feed does. Conditions nobody knows leave the volume and are counted in `unknown_conditions`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from runtime import telemetry
from runtime.frames import Array
from runtime.providers import (
    SECOND_NS,
    Batch,
    ProviderError,
    clocked,
    speed_of,
    take_parameters,
)
from runtime.providers.conditions import ODD_LOTS, flags_of
from runtime.providers.losses import gap_batch
from runtime.providers.sequences import CONTIGUOUS, gaps
from runtime.providers.symbols import normal_table
from runtime.tables import CORRECTED, TableError, read_trades

log = telemetry.get_logger(__name__)

BATCH_ROWS = 65_536
SOURCE_LETTERS_MAX = 32  # a label of metrics and of every frame


class FileProvider:
    """Trades of one or more files, ordered by time; the order of rows breaks ties.

    Symbols are spelled as `runtime.providers.symbols` says; test symbols and cancelled trades are left out.
    """

    warm_ns = 0

    def __init__(
        self,
        paths: list[Path],
        speed: float = 1.0,
        order: str = "time",
        odd_lots: str = "volume",
        source: str = "file",
    ) -> None:
        self.name = source  # what frames carry as `src`
        self.speed = speed
        self._symbols: list[str] = []
        self._odd_lots = odd_lots
        self.unknown_conditions: Counter[str] = Counter()  # code -> prints that carry it
        parts = [self._eligible(read_trades(path)) for path in paths]
        if not parts:
            raise ProviderError("file: expected at least one file")
        for name in (one for one in CORRECTED if any(one in part for part in parts)):
            for part in parts:
                part.setdefault(name, np.zeros(len(part["ts_ns"]), dtype=np.int64))
        names = [name for name in parts[0] if all(name in part for part in parts)]
        if order == "time" and "recv_ns" in names:
            names.remove("recv_ns")  # event time is in order: nothing to check against receipt
        place: dict[str, int] = {}
        for part in parts:
            part["symbol"] = np.array([place.setdefault(s, len(place)) for s in part["symbol"]])
        self._symbols = list(place)
        columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
        if order == "time":
            rows = np.argsort(columns["ts_ns"], kind="stable")
            columns = {name: values[rows] for name, values in columns.items()}
        self._index = columns.pop("symbol")
        self._corrections = corrections_of(columns, self._index)
        self._columns = {name: v for name, v in columns.items() if name not in CORRECTED}
        self._holes = holes_of(source, self._columns, self._index)

    def _eligible(self, part: dict[str, Any]) -> dict[str, Any]:
        conditions, tape = part.pop("conditions", None), part.pop("tape", [])
        if conditions is not None:
            tapes = tape or ["A"] * len(conditions)
            part["upd"], unknown = flags_of(conditions, tapes, part["ts_ns"], self._odd_lots)
            for code in unknown.keys() - self.unknown_conditions.keys():
                log.warning("unknown sale condition: volume only", code=code, prints=unknown[code])
            for code, prints in unknown.items():
                telemetry.UNKNOWN_CONDITIONS.labels(code).inc(prints)
            self.unknown_conditions.update(unknown)
        good = part.pop("is_good", np.ones(len(part["ts_ns"]), dtype=bool))
        names = normal_table(part["symbol"])
        if any(symbol != name for symbol, name in names.items()) or len(names) < len(
            set(part["symbol"])
        ):
            good = good & np.array([symbol in names for symbol in part["symbol"]])
            part["symbol"] = [names.get(symbol, symbol) for symbol in part["symbol"]]
        if good.all():
            return part
        part["symbol"] = [
            one for one, keep in zip(part["symbol"], good.tolist(), strict=True) if keep
        ]
        return {name: v if name == "symbol" else v[good] for name, v in part.items()}

    def within(self, from_ns: int, to_ns: int, symbols: tuple[str, ...] = ()) -> FileProvider:
        """This provider with the trades of a range of time, the end not included, and of some symbols."""
        times = self._columns["ts_ns"]
        keep = (times >= from_ns) & (times < to_ns)
        if symbols:
            wanted = [place for place, one in enumerate(self._symbols) if one in symbols]
            keep &= np.isin(self._index, wanted)
        if not keep.all():
            columns, index, at_ns = self._corrections
            of = (columns["ts_ns"] >= from_ns) & (columns["ts_ns"] < to_ns) & (at_ns < to_ns)
            of &= np.isin(index, np.unique(self._index[keep]))
            some = {name: values[of] for name, values in columns.items()}
            self._corrections = some, index[of], at_ns[of]
            self._columns = {name: values[keep] for name, values in self._columns.items()}
            self._index = self._index[keep]
        return self

    @property
    def trades(self) -> int:
        """How many trades the files hold."""
        return len(self._index)

    @property
    def symbols(self) -> int:
        """Of how many symbols they are."""
        return len(np.unique(self._index))

    def batches(self, after_ns: int = 0, step_ns: int = SECOND_NS) -> Iterator[Batch]:
        """Trades and corrections with their clock events; after `after_ns` only those at or past it.

        `step_ns` of a minute leaves out clock events within minutes, see `runtime.providers.clocked`.
        """
        start = int(np.searchsorted(self._columns["ts_ns"], after_ns)) if after_ns else 0
        return clocked(self._events(start, after_ns), after_ns, step_ns)

    def _events(self, start: int, after_ns: int) -> Iterator[Batch]:
        """Trades, and each correction after the trades up to its time."""
        columns, index, at_ns = self._corrections
        newest_ns = np.maximum.accumulate(self._columns["ts_ns"])
        place = np.searchsorted(newest_ns, at_ns, side="right")
        place[at_ns < after_ns] = -1
        for one in np.unique(place[place >= 0]).tolist():
            yield from self._whole(start, one)
            start = max(start, one)
            rows = np.flatnonzero(place == one)
            some = {name: values[rows] for name, values in columns.items()}
            yield Batch("corrections", some, self._symbols, index[rows], at_ns[rows])
        yield from self._whole(start, self.trades)

    def _whole(self, start: int, stop: int) -> Iterator[Batch]:
        """Trades, and each hole in the feed's numbers after the trade that shows it."""
        for place, symbol, from_ns, to_ns in self._holes:
            if start <= place < stop:
                yield from self._trades(start, place + 1)
                start = place + 1
                yield gap_batch(self._symbols, np.array([symbol]), to_ns, from_ns, to_ns)
        yield from self._trades(start, stop)

    def _trades(self, start: int, stop: int) -> Iterator[Batch]:
        for first in range(start, stop, BATCH_ROWS):
            rows = slice(first, min(first + BATCH_ROWS, stop))
            columns = {name: values[rows] for name, values in self._columns.items()}
            yield Batch("trades", columns, self._symbols, self._index[rows])


def holes_of(feed: str, trades: dict[str, Array], index: Array) -> list[tuple[int, int, int, int]]:
    """(place of the trade after it, symbol, time of the trade before, of the trade after) of every hole that is a loss.

    feed  whose numbers they are, see `runtime.providers.sequences`; holes of others say nothing
    """
    if feed not in CONTIGUOUS or "id" not in trades:
        return []
    found = []
    for symbol in np.unique(index).tolist():
        rows = np.flatnonzero((index == symbol) & (trades["id"] > 0))
        place_of = dict(zip(trades["id"][rows].tolist(), rows.tolist(), strict=True))
        for first, last in gaps(feed, trades["id"][rows]):
            before, after = place_of[first - 1], place_of[last + 1]
            times = trades["ts_ns"][before], trades["ts_ns"][after]
            found.append((max(before, after), symbol, int(min(times)), int(max(times))))
    return sorted(found)


def corrections_of(trades: dict[str, Array], index: Array) -> tuple[dict[str, Array], Array, Array]:
    """The corrections of trades: columns of the `corrections` record, symbols, times, in order of time.

    A trade may be corrected and then cancelled; what is corrected after its cancel is not.
    """
    never = np.zeros(len(index), dtype=np.int64)
    cancelled, corrected = (trades.get(f"{how}_ns", never) for how in ("cancelled", "corrected"))
    corrected = np.where((cancelled > 0) & (corrected > cancelled), 0, corrected)
    price, size = trades["price"], trades["size"]
    right_price, right_size = (trades.get(f"corrected_{of}", never) for of in ("price", "size"))
    right_size = np.where(right_size > 0, right_size, size)
    first, second = np.flatnonzero(corrected > 0), np.flatnonzero(cancelled > 0)
    rows = np.concatenate([first, second])
    is_cancel = np.arange(len(rows)) >= len(first)
    was_right = is_cancel & (corrected[rows] > 0)
    columns: dict[str, Array] = {
        name: trades[name][rows] for name in ("ts_ns", "id", "upd") if name in trades
    }
    columns["price"] = np.where(was_right, right_price[rows], price[rows])
    columns["size"] = np.where(was_right, right_size[rows], size[rows])
    columns["new_price"] = np.where(is_cancel, np.nan, right_price[rows])
    columns["new_size"] = np.where(is_cancel, 0.0, right_size[rows])
    at_ns = np.concatenate([corrected[first], cancelled[second]])
    order = np.argsort(at_ns, kind="stable")
    sorted_columns = {name: values[order] for name, values in columns.items()}
    return sorted_columns, index[rows][order], at_ns[order]


def open_file(path: str, given: dict[str, str]) -> FileProvider:
    """file:///a.parquet,/b.csv?speed=10&order=arrival&odd_lots=eligible&source=iex.

    speed     max publishes as fast as possible
    order     time (default) or arrival: the order of rows
    odd_lots  volume (default) or eligible: whether odd lots may set prices
    source    whose trades they are, told in every frame: a feed of one exchange is not the tape
    """
    known = {"speed": speed_of, "order": _order, "odd_lots": _odd_lots, "source": _source}
    taken = take_parameters(given, known)
    paths = [Path(name) for name in path.split(",") if name]
    missing = [str(one) for one in paths if not one.exists()]
    if missing:
        raise ProviderError(f"no file {', '.join(missing)}")
    try:
        return FileProvider(
            paths,
            taken.get("speed", 1.0),
            taken.get("order", "time"),
            taken.get("odd_lots", "volume"),
            taken.get("source", "file"),
        )
    except TableError as error:
        raise ProviderError(str(error)) from error


def _order(text: str) -> str:
    if text not in ("time", "arrival"):
        raise ValueError("expected time or arrival")
    return text


def _odd_lots(text: str) -> str:
    if text not in ODD_LOTS:
        raise ValueError(f"expected one of {', '.join(ODD_LOTS)}")
    return text


def _source(text: str) -> str:
    if not 0 < len(text) <= SOURCE_LETTERS_MAX or not text.replace("-", "").isalnum():
        raise ValueError(f"expected 1 to {SOURCE_LETTERS_MAX} letters, digits and -")
    return text
