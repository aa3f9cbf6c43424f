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
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
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
from runtime.providers.history import Beside, known_in_time
from runtime.store import BadValue, Outage, Store, StoreError
from runtime.tables import TableError

log = telemetry.get_logger(__name__)

NEW_YORK = ZoneInfo("America/New_York")
RETRY_S = 60.0
FRESH = timedelta(hours=1)  # a process that ends and starts again does not ask for everything again


class Source(Protocol):
    """Where what is known comes from."""

    @property
    def path(self) -> Path:
        """A file, or a folder that need not be there yet."""
        ...

    async def refresh(self) -> None:
        """Bring the file or folder up to date. Raises ProviderError, TableError, Outage."""
        ...


@dataclass(frozen=True)
class Kept:
    """A file or folder that somebody else keeps new."""

    path: Path

    async def refresh(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class FromVendor:
    """A vendor's tables, fetched into a folder."""

    settings: Settings
    vendor: Vendor
    symbols: tuple[str, ...]
    path: Path

    async def refresh(self) -> None:
        """Fetch what came since the last time, unless that was just now. What can not be had is told, and no failure."""
        now = datetime.now(UTC)
        asked_at = Fetches(self.path, self.symbols).asked_at
        times = {table: asked_at(table) for table in self.vendor.tables}
        tables = tuple(one for one, at in times.items() if at is None or now - at > FRESH)
        if not tables:
            return
        found = await asyncio.to_thread(
            fetch_into, self.path, self.vendor, self.symbols, tables, now, _unseen
        )
        for one in found:
            log.info(
                "reference data fetched",
                source=self.vendor.name,
                table=one.table,
                rows=one.rows,
                left_out=one.left_out,
                problem=one.problem,
            )
        today = today_of(self.vendor, now)
        for said in await asyncio.to_thread(
            calendar_differences, self.vendor, self.settings, today
        ):
            log.warning("calendars differ", said=said)
        failed = [one for one in found if one.is_passing]
        if failed:
            raise ProviderError("; ".join(f"{one.table}: {one.problem}" for one in failed))


def _unseen(table: str, rows: int) -> None:
    """Nobody watches."""
    del table, rows


@dataclass(frozen=True)
class FromDatabase:
    """The tables of the database, copied into a folder."""

    settings: Settings
    path: Path

    async def refresh(self) -> None:
        """Copy them. Of a `jetscan dev` the database may come up after us: then it is asked for again."""
        url = self.settings.database_url
        file = Path(self.settings.data_dir) / "postgres.url"
        if not url:
            try:
                url = file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise Outage(f"no JETSCAN_DATABASE_URL, and no {file}") from error
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
        return FromVendor(settings, vendor, symbols, folder / vendor.name)
    path = Path(text)
    if not path.exists():
        raise ProviderError(
            f"--reference {text}: expected a file, a folder, {SQL}, or alpaca, massive, binance, coinbase"
        )
    return Kept(path)


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
        self._read_at: dict[Path, int] = {}
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
        while True:
            await self._due.wait()
            self._due.clear()
            if not await self._refreshed():
                await asyncio.sleep(RETRY_S)
                self._due.set()

    async def _refreshed(self) -> bool:
        """Bring every source up to date and tell what is new; whether all of them could be."""
        is_whole = True
        for one in self._sources:
            try:
                await one.refresh()
            except (ProviderError, TableError, Outage, StoreError, BadValue) as error:
                is_whole = False
                log.warning("reference data not refreshed", path=str(one.path), error=str(error))
                telemetry.REFERENCE_FAILED.labels(one.path.name).inc()
            else:
                telemetry.REFERENCE_REFRESHED.labels(one.path.name).set(time.time())
        try:
            if self._is_changed():
                news = await asyncio.to_thread(lambda: self._beside.news(self._read()))
                self._beside.renew(news)
                log.info("reference data renewed", events=sum(len(one) for _, one in news))
        except TableError as error:  # half written by somebody else, perhaps
            is_whole = False
            log.warning("reference data not read", error=str(error))
        return is_whole

    def _read(self) -> list[tuple[int, Batch]]:
        self._read_at = self._changes()
        return known_in_time(self._daily, [one.path for one in self._sources if one.path.exists()])

    def _is_changed(self) -> bool:
        return self._changes() != self._read_at

    def _changes(self) -> dict[Path, int]:
        """When each file was written."""
        paths = [*self._daily]
        for one in self._sources:
            paths += sorted(one.path.glob("*.parquet")) if one.path.is_dir() else [one.path]
        return {path: path.stat().st_mtime_ns for path in paths if path.exists()}


def next_refresh_ns(now_ns: int, at: str) -> int:
    """The first time after `now_ns` at which clocks in New York show HH:MM."""
    hour, minute = map(int, at.split(":"))
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, NEW_YORK)
    found = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if found <= now:
        found = (now + timedelta(days=1)).replace(hour=hour, minute=minute, second=0, microsecond=0)
    return int(found.timestamp()) * 1_000_000_000
