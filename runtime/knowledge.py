"""What an ingest knows beside its feeds, and how it stays new: read at the start, and again before every day.

    --reference            read as          kept new by
    facts.csv, a folder    it is            whoever writes it; read again when it was changed
    alpaca, massive?...    a folder         a fetch into JETSCAN_DATA_DIR/reference/VENDOR
    sql                    a folder         a copy of the database's tables in JETSCAN_DATA_DIR/reference/sql

The feed does not wait: what is missing at the start is told when it was fetched. What cannot be had is
asked for again, and what was known stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from runtime import telemetry
from runtime.config import Settings
from runtime.fetching import (
    SQL,
    Fetches,
    calendar_differences,
    copy_tables,
    fetch_into,
    is_vendor,
    open_vendor,
    today_of,
)
from runtime.providers import Batch, ProviderError
from runtime.providers.asked_reference import Vendor
from runtime.providers.beside import Beside, Known
from runtime.providers.history import known_in_time
from runtime.store import BadValue, Outage, Store, StoreError
from runtime.tables import TableError

log = telemetry.get_logger(__name__)

NEW_YORK = ZoneInfo("America/New_York")
RETRY_S = 60.0
Value = TypeVar("Value")
FRESH = timedelta(hours=1)  # a process that ends and starts again does not ask for everything again


class Source(Protocol):
    """Where what is known comes from."""

    @property
    def path(self) -> Path:
        """A file, or a folder that need not be there yet."""
        ...

    def refresh(self, since: datetime) -> None:
        """Bring it up to date where that was not done since; waits. Raises ProviderError, TableError, Outage."""
        ...


@dataclass(frozen=True)
class Kept:
    """A file or folder that somebody else keeps new."""

    path: Path

    def refresh(self, since: datetime) -> None:
        """Nothing to do."""
        del since


@dataclass(frozen=True)
class FromVendor:
    """A vendor's tables, fetched into a folder."""

    settings: Settings
    vendor: Vendor
    symbols: tuple[str, ...]
    path: Path

    def refresh(self, since: datetime) -> None:
        """Fetch the tables that were not asked for since. What cannot be had is told, and no failure, unless nothing can."""
        now = datetime.now(UTC)
        asked_at = Fetches(self.path, self.symbols).asked_at
        times = {table: asked_at(table) for table in self.vendor.tables}
        due = tuple(one for one, at in times.items() if at is None or not since <= at <= now)
        found = fetch_into(self.path, self.vendor, self.symbols, due, now, _unseen, is_cut=True)
        for one in found:
            told = log.warning if one.problem or one.left_out else log.info
            told(
                "reference data fetched",
                source=self.vendor.name,
                table=one.table,
                rows=one.rows,
                left_out=one.left_out,
                refused=one.refused[:1],
                problem=one.problem,
            )
        failed = [one for one in found if one.is_passing]
        if not failed and len(due) == len(times) and all(one.problem for one in found):
            failed = found
        if failed:
            raise ProviderError("; ".join(f"{one.table}: {one.problem}" for one in failed))
        if due:
            self._compare_calendars(now)

    def _compare_calendars(self, now: datetime) -> None:
        try:
            today = today_of(self.vendor, now)
            for said in calendar_differences(self.vendor, self.settings, today):
                log.warning("calendars differ", said=said)
        except ProviderError as error:
            log.warning("the vendor's calendar is not known", error=str(error))


def _unseen(table: str, rows: int) -> None:
    """Nobody watches."""
    del table, rows


@dataclass(frozen=True)
class FromDatabase:
    """The tables of the database, copied into a folder."""

    settings: Settings
    path: Path

    def refresh(self, since: datetime) -> None:
        """Copy them. Of a `jetscan dev` the database may come up after us: then it is asked for again."""
        del since
        url = self.settings.database_url
        file = Path(self.settings.data_dir) / "postgres.url"
        if not url:
            try:
                url = file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise Outage(f"no JETSCAN_DATABASE_URL, and no {file}") from error
        asyncio.run(self._copy(url))

    async def _copy(self, url: str) -> None:
        store = Store(url, connections_max=1)
        try:
            await copy_tables(store, self.path, datetime.now(UTC))
        finally:
            await store.close()


def source_of(text: str, settings: Settings) -> Source:
    """What `--reference` names; raises ProviderError for what is none of it."""
    folder = Path(settings.data_dir) / "reference"
    if text == SQL:
        return FromDatabase(settings, folder / SQL)
    if is_vendor(text):
        vendor, symbols = open_vendor(text)
        return FromVendor(settings, vendor, symbols, folder / name_of(vendor, symbols))
    path = Path(text)
    if not path.exists():
        raise ProviderError(
            f"--reference {text}: expected a file, a folder, {SQL}, or alpaca, massive, binance, coinbase"
        )
    return Kept(path)


def name_of(vendor: Vendor, symbols: tuple[str, ...]) -> str:
    """The folder of what is fetched: another one for every list of symbols."""
    if not symbols:
        return vendor.name
    told = ",".join(sorted(symbols)).encode()
    return f"{vendor.name}-{hashlib.blake2b(told, digest_size=4).hexdigest()}"


async def beside_the_loop(work: Callable[[], Value]) -> Value:
    """What work returns, done in a thread that a process which ends does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Value] = loop.create_future()

    def tell(settle: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            settle(value)

    def run() -> None:
        try:
            settle, value = done.set_result, work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            settle, value = done.set_exception, error  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, settle, value)

    threading.Thread(target=run, daemon=True, name="reference").start()
    return await done


class Knowledge:
    """What is told beside a feed, kept new."""

    def __init__(
        self,
        settings: Settings,
        daily: Sequence[Path] = (),
        reference: Sequence[str] = (),
        minutes: Sequence[Path] = (),
    ) -> None:
        """Read what is there. Raises TableError for a file that cannot be read, ProviderError for no source."""
        self._daily = list(daily)
        self._sources = [source_of(one, settings) for one in reference]
        self._at = settings.reference_at
        self._read_at = self._changes()
        self._news: Known | None = None
        self._due = asyncio.Event()
        self._due_ns = 0
        self._is_whole = all(isinstance(one, Kept) for one in self._sources)
        is_renewed = bool(self._daily or self._sources)
        self._beside = Beside(self._read(), minutes, is_renewed)

    def around(self, batch: Batch) -> Iterator[Batch]:
        """A batch of the feed and what became known by it; a clock event may be that of a refresh."""
        if batch.kind == "clock" and batch.newest_ns >= self._due_ns:
            is_first = not self._due_ns
            self._due_ns = next_refresh_ns(batch.newest_ns, self._at)
            if not (is_first and self._is_whole):
                self._due.set()
        return self._beside.around(batch)

    async def keep(self) -> None:
        """Refresh whenever that is due, until cancelled."""
        since = datetime.now(UTC) - FRESH  # at the start what was asked for just now will do
        while True:
            await self._due.wait()
            self._due.clear()
            while not await beside_the_loop(lambda since=since: self._refreshed(since)):  # type: ignore[misc]
                self._tell()
                await asyncio.sleep(RETRY_S)
            self._tell()
            await self._due.wait()
            since = datetime.now(UTC)

    def _tell(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            self._beside.renew(news)
            log.info("reference data renewed", events=sum(len(one) for _, one in news))

    def _refreshed(self, since: datetime) -> bool:
        """Bring every source up to date, find what is new; whether all could be. Whatever goes wrong costs no feed."""
        is_whole = True
        for one in self._sources:
            name = one.path.name
            try:
                one.refresh(since)
            except Exception as error:  # noqa: BLE001 - a vendor may answer anything
                is_whole = False
                _tell_failure("reference data not refreshed", one.path, error)
                telemetry.REFERENCE_FAILED.labels(name).inc()
            else:
                telemetry.REFERENCE_REFRESHED.labels(name).set(time.time())
        try:
            changes = self._changes()
            if changes != self._read_at:
                self._news = self._beside.news(self._read())
                self._read_at = changes
        except Exception as error:  # noqa: BLE001 - half written by somebody else, perhaps
            is_whole = False
            _tell_failure("reference data not read", Path(), error)
        return is_whole

    def _read(self) -> Known:
        return known_in_time(self._daily, [one.path for one in self._sources if one.path.exists()])

    def _changes(self) -> dict[Path, int]:
        """When each file was written."""
        paths = [*self._daily]
        for one in self._sources:
            paths += sorted(one.path.glob("[!.]*.parquet")) if one.path.is_dir() else [one.path]
        found = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.stat().st_mtime_ns
        return found


def _tell_failure(what: str, path: Path, error: Exception) -> None:
    is_known = isinstance(error, ProviderError | TableError | Outage | StoreError | BadValue)
    log.warning(what, path=str(path), error=str(error) or repr(error), exc_info=not is_known)


def next_refresh_ns(now_ns: int, at: str) -> int:
    """The first time after `now_ns` at which clocks in New York show HH:MM."""
    hour, minute = map(int, at.split(":"))
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, NEW_YORK)
    found = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if found <= now:
        found = (now + timedelta(days=1)).replace(hour=hour, minute=minute, second=0, microsecond=0)
    return int(found.timestamp()) * 1_000_000_000
