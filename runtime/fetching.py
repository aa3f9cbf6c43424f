"""Reference data fetched from vendors into a folder or the database, table by table; and the database into a folder.

A folder has one Parquet file a table, and in `fetched.json` up to where each was fetched: the next fetch asks
for what came since. A fetch that fails half way keeps what it had, and asks for it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from runtime import reference
from runtime.config import Settings
from runtime.providers import ProviderError
from runtime.providers.alpaca_reference import open_alpaca
from runtime.providers.asked_reference import (
    REFUSED_SHOWN,
    NotToBeHad,
    Page,
    Vendor,
    Wish,
    midnight,
)
from runtime.providers.crypto_reference import open_binance, open_coinbase
from runtime.providers.massive_reference import open_massive
from runtime.providers.parameters import symbols_of
from runtime.reference import TABLES
from runtime.store import Store
from runtime.tables import (
    Replaced,
    TableError,
    make_folder,
    merge_parquet,
    read_columns,
    write_parquet,
    write_text,
)

SQL = "sql"
OPENERS: dict[str, Callable[[dict[str, str]], Vendor]] = {
    "alpaca": open_alpaca,
    "massive": open_massive,
    "binance": open_binance,
    "coinbase": open_coinbase,
}
ROWS_AT_ONCE = 200_000  # in memory before they are written
DAYS_AT_ONCE = 30
PAST_DAYS = 400  # 250 trading days, and some
OVERLAP_DAYS = 7  # bars that a vendor corrected since
WINDOWS = {  # days before and after today
    "symbols": (0, 0),
    "splits": (PAST_DAYS, 30),
    "renames": (PAST_DAYS, 30),
    "fundamentals": (45, 0),
    "earnings": (120, 120),
    "news_times": (3, 0),
}
KEPT_DAYS = {"daily_bars": PAST_DAYS + 30, "fundamentals": PAST_DAYS, "news_times": 7}
MOMENTS = {"daily_bars": "day", "fundamentals": "known_at", "news_times": "timestamp"}
STATE, LOCK = "fetched.json", ".lock"

CALENDAR_DAYS = 30  # ahead, in which a vendor's calendar is compared
NEW_YORK = ZoneInfo("America/New_York")

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Fetched:
    """What became of a table: rows that were told, some of those left out with the reason, and what stood in the way."""

    table: str
    rows: int
    left_out: int = 0
    refused: tuple[str, ...] = ()
    problem: str = ""
    is_passing: bool = False  # the problem may be gone when it is asked for again
    wish: Wish | None = None  # what was asked for


def open_vendor(text: str) -> tuple[Vendor, tuple[str, ...]]:
    """(vendor, symbols as it spells them) of `alpaca`, or `massive?symbols=AAPL,MSFT`; raises ProviderError."""
    parts = urlsplit(text)
    name = parts.path.strip("/") or parts.netloc
    if name not in OPENERS:
        raise ProviderError(f"{text}: expected one of {', '.join(OPENERS)}, or {SQL}")
    try:
        given = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        symbols = symbols_of(given.pop("symbols")) if "symbols" in given else []
    except ValueError as error:
        raise ProviderError(f"{text}: {error}; expected ?name=value&name=value") from error
    return OPENERS[name](given), tuple(symbols)


def is_vendor(text: str) -> bool:
    """Whether a source is a vendor's, not a file, a folder or the database."""
    return urlsplit(text).path in OPENERS


# -- what to ask


def wish_of(table: str, symbols: tuple[str, ...], today: date, newest: date | None) -> Wish:
    """What to ask of a table, when it was fetched up to `newest`."""
    if table == "daily_bars":
        since = today - timedelta(PAST_DAYS)
        since = max(since, newest - timedelta(OVERLAP_DAYS)) if newest else since
        return Wish(since, today - timedelta(1), symbols)
    before, after = WINDOWS[table]
    return Wish(today - timedelta(before), today + timedelta(after), symbols)


def today_of(vendor: Vendor, now: datetime) -> date:
    """The date where the vendor's days end."""
    return now.astimezone(ZoneInfo(vendor.zone)).date()


# -- the calendar


def calendar_differences(vendor: Vendor, settings: Settings, today: date) -> list[str]:
    """Where a vendor's days of trading are not those that functions count with, in words. Raises ProviderError."""
    if vendor.sessions is None:
        return []
    until = today + timedelta(CALENDAR_DAYS)
    told = vendor.sessions(today, until)
    known = _known_sessions(settings, today, until)
    found = []
    for day in sorted(told.keys() | known.keys()):
        theirs, ours = told.get(day), known.get(day)
        if theirs == ours:
            continue
        said = f"closes at {theirs}" if theirs else "is no day of trading"
        counted = f"closes at {ours}" if ours else "is none"
        cure = "; add it to `closures` of bars, scanner and opens_outcomes" if not theirs else ""
        found.append(f"{day} {said} for {vendor.name}, here it {counted}{cure}")
    return found


def _known_sessions(settings: Settings, since: date, until: date) -> dict[date, str]:
    from exchange_calendars import get_calendar  # builds on pandas: loaded only where it is wanted

    days = get_calendar("XNYS")
    closures = str(settings.functions.get("scanner", {}).get("closures", "")).split(",")
    closed = {one.strip() for one in closures}
    return {
        one.date(): days.session_close(one).astimezone(NEW_YORK).strftime("%H:%M")
        for one in days.sessions_in_range(str(since), str(until))
        if str(one.date()) not in closed
    }


# -- into a folder


def fetch_into(
    folder: Path,
    vendor: Vendor,
    symbols: tuple[str, ...],
    tables: tuple[str, ...],
    now: datetime,
    progress: Progress,
    since: date | None = None,
    is_cut: bool = False,
) -> list[Fetched]:
    """Fetch tables into a folder. A table that cannot be had costs itself: see `problem`. Raises TableError.

    `is_cut`: what is too old to be told is dropped. One process at a time: another one waits.
    """
    make_folder(folder)
    with locked(folder):
        state = Fetches(folder, symbols)
        found = []
        for table in tables:
            today = today_of(vendor, now)
            wish = wish_of(table, symbols, today, state.newest(table))
            wish = Wish(since, max(wish.until, since), symbols) if since else wish
            one = _fetch(vendor, table, wish, progress, FolderSink(folder, table, wish, is_cut))
            if not one.is_passing:
                state.note(table, None if one.problem else today, now)
            found.append(one)
    return found


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else fetches into a folder meanwhile. Raises TableError."""
    try:
        with (folder / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise TableError(f"{folder / LOCK}: {error.strerror}") from error


class Fetches:
    """Up to which day each table of a folder was fetched; of other symbols nothing was."""

    def __init__(self, folder: Path, symbols: tuple[str, ...]) -> None:
        self._path, self._symbols = folder / STATE, sorted(symbols)
        self._known: dict[str, Any] = {}
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise TableError(
                f"{self._path}: cannot be read: {error}; delete it to fetch all anew"
            ) from error
        if isinstance(told, dict):
            self._known = told

    def newest(self, table: str) -> date | None:
        """The day up to which a table was fetched for these symbols."""
        told = self._of(table, "until")
        return date.fromisoformat(told) if told else None

    def asked_at(self, table: str) -> datetime | None:
        """When a table was asked for these symbols and answered, or refused for good."""
        told = self._of(table, "at")
        return datetime.fromisoformat(told) if told else None

    def _of(self, table: str, name: str) -> str:
        told = self._known.get(table)
        if not isinstance(told, dict) or told.get("symbols") != self._symbols:
            return ""
        return str(told.get(name) or "")

    def note(self, table: str, until: date | None, now: datetime) -> None:
        """A table is whole up to a day; None: it is as far as it was, and asking again is no use."""
        known = str(until) if until else self._of(table, "until")
        self._known[table] = {"until": known, "symbols": self._symbols, "at": now.isoformat()}
        write_text(self._path, json.dumps(self._known, indent=1))


class Parts:
    """Rows of one table on their way into its file: written as they come, and merged once all are there."""

    def __init__(self, folder: Path, table: str) -> None:
        self.path = folder / f"{table}.parquet"
        self._begin = folder / f".{table}.{os.getpid()}"
        self._parts: list[Path] = []

    def add(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write some rows beside the file. Raises TableError."""
        part = self._begin.with_name(f"{self._begin.name}.{len(self._parts)}.parquet")
        write_parquet(part, columns)
        self._parts.append(part)

    def merge(
        self,
        key: Sequence[str],
        replaced: Replaced | None = None,
        oldest: tuple[str, Any] | None = None,
    ) -> None:
        """The file with them. Raises TableError."""
        if self._parts or self.path.exists():
            merge_parquet(self.path, self._parts, key, replaced, oldest)

    def remove(self) -> None:
        """Leave nothing beside the file."""
        for part in self._parts:
            part.unlink(missing_ok=True)
        self._parts = []


class FolderSink:
    """Pages of one table into its file; what is replaced goes when all is there."""

    def __init__(self, folder: Path, table: str, wish: Wish, is_cut: bool = False) -> None:
        self._table, self._shape, self._wish, self._is_cut = table, TABLES[table], wish, is_cut
        self._parts = Parts(folder, table)
        self._waiting: list[dict[str, Any]] = []

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take rows; they are written when they are many."""
        self._waiting += rows
        if len(self._waiting) > ROWS_AT_ONCE:
            self._flush()

    def end(self, is_whole: bool) -> None:
        """Merge what came. Of a table that is replaced only all of it counts."""
        self._flush()
        is_replaced = self._table == "symbols" or bool(self._shape.replaced_by)
        try:
            if is_whole or not is_replaced:
                self._parts.merge(
                    self._shape.key, self._replaced() if is_replaced else None, self._oldest()
                )
        finally:
            self._parts.remove()

    def drop(self) -> None:
        """Leave nothing of what came."""
        self._parts.remove()

    def _flush(self) -> None:
        if self._waiting:
            self._parts.add(columns_of(self._waiting))
            self._waiting = []

    def _replaced(self) -> Replaced:
        least, most = bounds(self._shape, self._wish)
        of = ("symbol", "new_symbol") if self._table == "renames" else ("symbol",)
        return Replaced(self._shape.replaced_by, least, most, self._wish.symbols, of)

    def _oldest(self) -> tuple[str, Any] | None:
        moment = MOMENTS.get(self._table)
        if not self._is_cut or moment is None:
            return None
        days = KEPT_DAYS[self._table]
        oldest = self._wish.until - timedelta(days)
        return moment, oldest if moment in self._shape.days else midnight(oldest)


def bounds(shape: reference.Table, wish: Wish) -> tuple[Any, Any]:
    """The first and the last moment of a wish, as the column that tells them has it."""
    if shape.replaced_by in shape.days:
        return wish.since, wish.until
    return midnight(wish.since), midnight(wish.until + timedelta(1)) - timedelta(microseconds=1)


def _fetch(vendor: Vendor, table: str, wish: Wish, progress: Progress, sink: FolderSink) -> Fetched:
    if table not in vendor.tables:
        return Fetched(table, 0, problem=f"{vendor.name} does not have it")
    rows, left_out, refused = 0, 0, list[str]()
    problem, is_passing = "", False
    try:
        for page in _told(vendor, table, wish):
            rows += len(page.rows)
            left_out += len(page.refused)
            refused += page.refused[: REFUSED_SHOWN - len(refused)]
            progress(table, rows)
            sink.add(page.rows)
    except NotToBeHad as error:
        problem = str(error)
    except ProviderError as error:
        problem, is_passing = str(error), True
    except BaseException:
        sink.drop()
        raise
    sink.end(is_whole=not problem)
    return Fetched(table, rows, left_out, tuple(refused), problem, is_passing, wish)


def _told(vendor: Vendor, table: str, wish: Wish) -> Iterator[Page]:
    if table in vendor.needs_symbols and not wish.asked:
        raise NotToBeHad(
            f"{vendor.name} is asked for {table} symbol by symbol: say {vendor.name}?symbols=A,B"
        )
    yield from vendor.tables[table](wish)


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns; what a row does not have is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


# -- between a folder and the database


async def store_folder(store: Store, folder: Path, fetched: list[Fetched]) -> list[Fetched]:
    """Write what was fetched into a folder into the database as well. Raises Outage."""
    found = []
    for one in fetched:
        path = folder / f"{one.table}.parquet"
        if one.wish is None or (one.problem and not path.exists()):
            found.append(one)
            continue
        columns = await asyncio.to_thread(_since, path, one.table, one.wish.since)
        loaded = await reference.write(store, one.table, columns)
        if TABLES[one.table].replaced_by and not one.problem:
            least, most = bounds(TABLES[one.table], one.wish)
            await reference.forget(store, one.table, least, most, list(one.wish.symbols), columns)
        bad = tuple(f"row {row.place}: {row.reason}" for row in loaded.bad)
        refused = (*one.refused, *bad)[:REFUSED_SHOWN]
        found.append(replace(one, left_out=one.left_out + len(bad), refused=refused))
    return found


def _since(path: Path, table: str, since: date) -> dict[str, list[Any]]:
    """The rows of a file; of daily bars those that were asked for."""
    if not path.exists():
        return {name: [] for name in TABLES[table].key}
    columns = read_columns(path, ["symbol"])
    if table != "daily_bars":
        return columns
    rows = [place for place, day in enumerate(columns["day"]) if day >= since]
    return {name: [values[place] for place in rows] for name, values in columns.items()}


async def copy_tables(store: Store, folder: Path, now: datetime) -> None:
    """The tables of the database as files of a folder, each whole or as it was. Raises Outage, TableError."""
    make_folder(folder)
    today = now.astimezone(UTC).date()
    for table, shape in TABLES.items():
        parts = Parts(folder, table)
        try:
            for since, until in _spans(table, today):
                columns = await reference.read(store, table, since, until)
                if columns["symbol"]:
                    parts.add(columns)
            parts.merge(shape.key, Replaced())
        finally:
            parts.remove()


def _spans(table: str, today: date) -> Iterator[tuple[date, date]]:
    """Days from the first up to before the second: what is long is read in parts."""
    since, end = today - timedelta(KEPT_DAYS.get(table, PAST_DAYS)), today + timedelta(2)
    step = DAYS_AT_ONCE if table == "daily_bars" else PAST_DAYS + 2
    while since < end:
        yield since, min(since + timedelta(step), end)
        since += timedelta(step)
