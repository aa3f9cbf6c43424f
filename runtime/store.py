"""The one door to PostgreSQL: a pool, transactions, batches by COPY, and what each failure means.

What the database answers                           what it means            what follows
no connection, shutting down, full, no such table   it is away or not ready  Outage: wait, nothing is lost
serialization failure, deadlock, lock not to be had two were in the way      again at once, a few times
a value it refuses (classes 22, 23, 54)              this row is bad          the batch is halved until it is alone
anything else                                       a mistake in a statement StoreError
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from runtime import telemetry

log = telemetry.get_logger(__name__)

CONNECTIONS_MAX = 4  # a worker writes three streams; more would only wait for the same disk
CONNECT_S = 5.0
STATEMENT_S = 30.0
CONFLICT_TRIES = 5
CONFLICT_WAIT_S = 0.05
PLACE = "batch_place"  # the row's number in its batch, in the staging table
SESSION = {
    "application_name": "jetscan",
    "timezone": "UTC",
    "statement_timeout": str(int(STATEMENT_S * 1000)),
    "lock_timeout": str(int(STATEMENT_S * 500)),
    "idle_in_transaction_session_timeout": str(int(STATEMENT_S * 2000)),
}

CONFLICTS = ("40", "55P03")
# No connection (08), wrong login (28), no such database or schema (3D, 3F), not migrated (42P01, 42703,
# 42883, 42501), full (53), cancelled or shutting down (57), the disk (58), a replica (25006), broken inside (XX).
AWAY = ("08", "28", "3D", "3F", "42P01", "42703", "42883", "42501", "53", "57", "58", "25006", "XX")
BAD_VALUE = ("22", "23", "54")  # 54: longer than an index takes

Value = TypeVar("Value")


class StoreError(RuntimeError):
    """A statement that the database refuses whatever the values are."""


class Outage(RuntimeError):
    """The database is away or not ready; nothing was written, and later the same will be."""


class Conflict(RuntimeError):
    """Another transaction was in the way; the same may succeed at once."""


class BadValue(ValueError):
    """A value that no column takes."""


@dataclass(frozen=True)
class BadRow:
    """A row of a batch that was left out: its position and why."""

    place: int
    reason: str


@dataclass(frozen=True)
class Upsert:
    """The statements of `Store.upsert` for one table and choice of columns."""

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    newest: str = ""

    @property
    def staging(self) -> str:
        """The connection's own table that COPY fills."""
        return f"staged_{self.table}"

    def prepare(self) -> str:
        """Makes the staging table; LIKE takes types and not-null, no keys."""
        return (
            f"CREATE TEMP TABLE IF NOT EXISTS {self.staging} (LIKE {self.table} INCLUDING DEFAULTS, "
            f"{PLACE} bigint) ON COMMIT DELETE ROWS"
        )

    def merge(self) -> str:
        """Moves what was staged into the table, of equal keys the newest."""
        names, key = ", ".join(self.columns), ", ".join(self.key)
        order = f"{self.newest} DESC, {PLACE} DESC" if self.newest else PLACE
        return (
            f"INSERT INTO {self.table} AS kept ({names}) SELECT {names} FROM (SELECT DISTINCT ON ({key}) * "
            f"FROM {self.staging} ORDER BY {key}, {order}) AS staged ON CONFLICT ({key}) {self._action()}"
        )

    def _action(self) -> str:
        if not self.newest:
            return "DO NOTHING"
        others = [name for name in self.columns if name not in self.key]
        assigned = ", ".join(f"{name} = excluded.{name}" for name in others)
        kept, new = (", ".join(f"{row}.{name}" for name in others) for row in ("kept", "excluded"))
        is_newer = f"excluded.{self.newest} >= kept.{self.newest}"
        is_other = f"({kept}) IS DISTINCT FROM ({new})"  # a feed tells its history at every start
        return f"DO UPDATE SET {assigned} WHERE {is_newer} AND {is_other}"


class Store:
    """A database, connected to when it is first needed and again whenever that is lost."""

    def __init__(self, url: str, connections_max: int = CONNECTIONS_MAX) -> None:
        self._url = url
        self._connections_max = connections_max
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Give every connection back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CONNECT_S)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pool.terminate()

    # -- statements

    async def fetch(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of one statement, which may run twice if the connection is lost."""

        async def work(connection: Connection) -> list[dict[str, Any]]:
            return await connection.fetch(statement, *values)

        return await self.run(work)

    async def execute(self, statement: str, *values: Any) -> None:
        """One statement in a transaction of its own; it may run twice if the connection is lost."""
        await self.fetch(statement, *values)

    async def run(self, work: Callable[[Connection], Awaitable[Value]]) -> Value:
        """Run `work` in a transaction; again, all of it, where another one was in the way.

        Raises Outage, BadValue or StoreError; nothing of `work` is kept then.
        """
        for tried in range(1, CONFLICT_TRIES + 1):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except Conflict as error:
                if tried == CONFLICT_TRIES:
                    raise Outage(f"others are in the way: {error}") from error
                await asyncio.sleep(CONFLICT_WAIT_S * tried * (0.5 + random.random()))
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction: kept when the block ends, undone when it raises."""
        with meant():
            pool = await self._opened()
            async with pool.acquire(timeout=CONNECT_S) as raw, raw.transaction():
                yield Connection(raw)

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._connections_max,
                    timeout=CONNECT_S,
                    command_timeout=STATEMENT_S + 5,  # the server's own limit comes first
                    max_inactive_connection_lifetime=60,
                    server_settings=SESSION,
                )
            return self._pool

    # -- batches

    async def upsert(
        self,
        table: str,
        columns: Mapping[str, Iterable[Any]],
        key: Sequence[str],
        newest: str = "",
    ) -> list[BadRow]:
        """Write columns of equal length: the good rows whatever the others are; returns the bad ones.

        key     columns that make two rows the same
        newest  a column: a row replaces one with the same key only if its value is not smaller;
                without it the row that came first stays

        Idempotent: the same rows again, in any order with others, change nothing. Raises Outage.
        """
        batch = Upsert(table, tuple(columns), tuple(key), newest)
        rows = list(zip(*(columns[name] for name in batch.columns), strict=True))
        places = [(*row, place) for place, row in enumerate(rows)]
        with _measured(table, len(places)):
            bad = await self._written(batch, places)
        telemetry.WRITTEN.labels("written").inc(len(places) - len(bad))
        telemetry.WRITTEN.labels("left_out").inc(len(bad))
        telemetry.WRITE_ERRORS.labels("BadValue").inc(len(bad))
        return bad

    async def _written(self, batch: Upsert, rows: Sequence[tuple[Any, ...]]) -> list[BadRow]:
        if not rows:
            return []
        try:
            await self.run(lambda connection: connection.upsert(batch, rows))
        except BadValue as error:
            if len(rows) == 1:
                return [BadRow(int(rows[0][-1]), str(error))]
            half = len(rows) // 2
            first = await self._written(batch, rows[:half])
            return first + await self._written(batch, rows[half:])
        return []


class Connection:
    """A connection within a transaction."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def fetch(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a statement."""
        return [dict(row) for row in await self._raw.fetch(statement, *values)]

    async def script(self, text: str) -> None:
        """Several statements without values."""
        await self._raw.execute(text)

    async def upsert(self, batch: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
        """COPY rows of (columns..., place) into the staging table and merge them."""
        await self._raw.execute(batch.prepare())
        names = [*batch.columns, PLACE]
        try:
            await self._raw.copy_records_to_table(
                batch.staging, records=rows, columns=names, schema_name="pg_temp"
            )
        except (TypeError, ValueError, OverflowError) as error:  # before it was sent
            raise BadValue(f"{batch.table}: {error}") from error
        await self._raw.execute(batch.merge())


@contextlib.contextmanager
def _measured(table: str, rows: int) -> Iterator[None]:
    """Count a batch: its rows while they wait, its time when they were taken, why when they were not."""
    began = time.perf_counter()
    telemetry.WRITING.inc(rows)
    try:
        yield
    except (Outage, StoreError) as error:
        telemetry.WRITE_ERRORS.labels(type(error).__name__).inc()
        raise
    finally:
        telemetry.WRITING.dec(rows)
    telemetry.WRITTEN_S.labels(table).observe(time.perf_counter() - began)
    telemetry.WRITTEN_ROWS.labels(table).observe(rows)


@contextlib.contextmanager
def meant() -> Any:
    """Says what an error of the driver means: Outage, Conflict, BadValue or StoreError."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _meaning(error)(_text(error)) from error
    except asyncpg.InterfaceError as error:
        # A ValueError is a value that was refused before it was sent, or an address that is none.
        is_address = isinstance(error, asyncpg.exceptions.ClientConfigurationError)
        is_value = isinstance(error, ValueError) and not is_address
        raise (BadValue if is_value else Outage)(_text(error)) from error
    except asyncpg.InternalClientError as error:  # what was prepared is stale: the table changed
        raise Conflict(_text(error)) from error
    except (OSError, TimeoutError) as error:
        raise Outage(f"PostgreSQL cannot be reached: {_text(error)}") from error


def _meaning(error: asyncpg.PostgresError) -> type[Exception]:
    code = error.sqlstate or ""
    if code == "23514" and "partition constraint" in str(error):
        return Conflict  # its partition was made while the row was on its way to NAME_other
    for codes, kind in ((BAD_VALUE, BadValue), (CONFLICTS, Conflict), (AWAY, Outage)):
        if code.startswith(codes):
            return kind
    return StoreError


def _text(error: BaseException) -> str:
    code = getattr(error, "sqlstate", "") or type(error).__name__
    hint = "; run `jetscan migrate`" if code in ("42P01", "42703", "42883") else ""
    return f"{error} ({code}){hint}"
