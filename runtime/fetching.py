"""Reference data fetched from vendors into a folder or the database, table by table; and the database into a folder.

A folder has one Parquet file a table, and in `fetched.json` up to where each was fetched: the next fetch asks
for what came since. A fetch that fails half way keeps what it had, and asks for it again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
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
from runtime.providers.symbols import normal
from runtime.reference import TABLES
from runtime.store import Store
from runtime.tables import TableError, make_folder, merge_parquet, read_columns, write_text

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
STATE = "fetched.json"

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
    """(vendor, symbols) of `alpaca`, or `massive?symbols=AAPL,MSFT`; raises ProviderError."""
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
    return OPENERS[name](given), tuple(normal(one) for one in symbols)


def is_vendor(text: str) -> bool:
    """Whether a source is a vendor's, not a file, a folder or the database."""
    return urlsplit(text).path.strip("/") in OPENERS


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
) -> list[Fetched]:
    """Fetch tables into a folder. A table that cannot be had costs itself: see `problem`. Raises TableError."""
    make_folder(folder)
    state = Fetches(folder, symbols)
    found = []
    for table in tables:
        today = today_of(vendor, now)
        wish = wish_of(table, symbols, today, state.newest(table))
        wish = Wish(since, max(wish.until, since), symbols) if since else wish
        one = _fetch(vendor, table, wish, progress, FolderSink(folder, table, wish))
        if not one.is_passing:
            state.note(table, None if one.problem else today, now)
        found.append(one)
    return found


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
        told = self._of(table)
        return date.fromisoformat(told["until"]) if told.get("until") else None

    def asked_at(self, table: str) -> datetime | None:
        """When a table was asked for these symbols and answered, or refused for good."""
        told = self._of(table)
        return datetime.fromisoformat(told["at"]) if told else None

    def _of(self, table: str) -> dict[str, Any]:
        told = self._known.get(table)
        return told if isinstance(told, dict) and told.get("symbols") == self._symbols else {}

    def note(self, table: str, until: date | None, now: datetime) -> None:
        """A table is whole up to a day; None: it is as far as it was, and asking again is no use."""
        known = str(until) if until else self._of(table).get("until", "")
        self._known[table] = {"until": known, "symbols": self._symbols, "at": now.isoformat()}
        write_text(self._path, json.dumps(self._known, indent=1))


class FolderSink:
    """Rows of one table into its file; what is replaced goes when all is there."""

    def __init__(self, folder: Path, table: str, wish: Wish) -> None:
        self._path, self._shape, self._wish = folder / f"{table}.parquet", TABLES[table], wish
        self._is_whole = table == "symbols" or bool(self._shape.replaced_by)

    def write(self, columns: dict[str, list[Any]], is_last: bool) -> None:
        """Merge rows; of a table that is replaced only all of them at once."""
        replaced = None
        if self._is_whole and is_last:
            least, most = _bounds(self._shape, self._wish)
            replaced = (self._shape.replaced_by, least, most, list(self._wish.symbols))
        key = [name for name in self._shape.key if name in columns]
        merge_parquet(self._path, columns, key, replaced)

    @property
    def rows_at_once(self) -> int | None:
        """None where rows are wanted all together."""
        return None if self._is_whole else ROWS_AT_ONCE


def _bounds(shape: reference.Table, wish: Wish) -> tuple[Any, Any]:
    if shape.replaced_by in shape.days:
        return wish.since, wish.until
    return midnight(wish.since), midnight(wish.until + timedelta(1)) - timedelta(microseconds=1)


def _fetch(vendor: Vendor, table: str, wish: Wish, progress: Progress, sink: FolderSink) -> Fetched:
    if table not in vendor.tables:
        return Fetched(table, 0, problem=f"{vendor.name} does not have it")
    rows, left_out, refused, waiting = 0, 0, list[str](), list[dict[str, Any]]()
    problem, is_passing = "", False
    try:
        for page in _told(vendor, table, wish):
            rows += len(page.rows)
            left_out += len(page.refused)
            refused += page.refused[: REFUSED_SHOWN - len(refused)]
            waiting += page.rows
            progress(table, rows)
            if sink.rows_at_once and len(waiting) > sink.rows_at_once:
                sink.write(columns_of(waiting), is_last=False)
                waiting = []
    except NotToBeHad as error:
        problem = str(error)
    except ProviderError as error:
        problem, is_passing = str(error), True
    if waiting and (sink.rows_at_once or not problem):
        sink.write(columns_of(waiting), is_last=not problem)
    return Fetched(table, rows, left_out, tuple(refused), problem, is_passing, wish)


def _told(vendor: Vendor, table: str, wish: Wish) -> Iterator[Page]:
    if table in vendor.needs_symbols and not wish.symbols:
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
        if one.wish is None or not path.exists():
            found.append(one)
            continue
        columns = await asyncio.to_thread(_since, path, one.table, one.wish.since)
        loaded = await reference.write(store, one.table, columns)
        if TABLES[one.table].replaced_by and not one.problem:
            least, most = _bounds(TABLES[one.table], one.wish)
            await reference.forget(store, one.table, least, most, list(one.wish.symbols), columns)
        bad = tuple(f"row {row.place}: {row.reason}" for row in loaded.bad)
        refused = (*one.refused, *bad)[:REFUSED_SHOWN]
        found.append(replace(one, left_out=one.left_out + len(bad), refused=refused))
    return found


def _since(path: Path, table: str, since: date) -> dict[str, list[Any]]:
    """The rows of a file; of daily bars those that were asked for."""
    columns = read_columns(path, ["symbol"])
    if table != "daily_bars":
        return columns
    rows = [place for place, day in enumerate(columns["day"]) if day >= since]
    return {name: [values[place] for place in rows] for name, values in columns.items()}


async def copy_tables(store: Store, folder: Path, now: datetime) -> None:
    """The tables of the database as files of a folder. Raises Outage, TableError."""
    make_folder(folder)
    today = now.astimezone(UTC).date()
    for table, shape in TABLES.items():
        path = folder / f"{table}.parquet"
        key = [name for name in shape.key if name != "active_from"]
        everything: tuple[str, None, None, list[str]] | None = ("", None, None, [])
        for since, until in _spans(table, today):
            columns = await reference.read(store, table, since, until)
            if columns["symbol"]:
                await asyncio.to_thread(merge_parquet, path, columns, key, everything)
                everything = None
        if everything is not None:  # the table has nothing, and so has the folder
            path.unlink(missing_ok=True)


def _spans(table: str, today: date) -> Iterator[tuple[date, date]]:
    """Days from the first up to before the second: what is long is read in parts."""
    since, end = today - timedelta(PAST_DAYS), today + timedelta(2)
    step = DAYS_AT_ONCE if table == "daily_bars" else PAST_DAYS + 2
    while since < end:
        yield since, min(since + timedelta(step), end)
        since += timedelta(step)
