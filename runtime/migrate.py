"""Bring a database to the newest migration: numbered files of SQL, forward only, each whole or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.store import BadValue, Connection, Store, StoreError

FILE = re.compile(r"(\d{3,})_([a-z0-9_]+)\.sql")
REQUIRES = re.compile(r"^-- requires: (\w+)$", re.MULTILINE)
LOCK = 0x6A657473  # "jets": the advisory lock that lets one runner at a time through
TABLE = """\
CREATE TABLE IF NOT EXISTS migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    is_skipped boolean NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrateError(RuntimeError):
    """The migrations cannot be applied; the text says what was expected and what was found."""


@dataclass(frozen=True)
class Migration:
    """One file."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def requires(self) -> str:
        """The extension without which it is passed over; empty: none."""
        found = REQUIRES.search(self.text)
        return found[1] if found else ""


@dataclass(frozen=True)
class Step:
    """A migration and where it stands: applied, skipped (what it requires is not there) or pending."""

    number: int
    name: str
    state: str
    applied_at: str = ""


def load_migrations(directory: Path) -> list[Migration]:
    """The files of a directory, numbered from 1 without a gap; raises MigrateError."""
    found = []
    for file in sorted(directory.glob("*.sql")):
        match = FILE.fullmatch(file.name)
        if not match:
            raise MigrateError(f"{file}: expected a name such as 001_bars.sql")
        found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda one: one.number)
    numbers = [one.number for one in found]
    if not found or numbers != list(range(1, len(found) + 1)):
        raise MigrateError(f"{directory}: expected files numbered from 001, found {numbers}")
    return found


async def migrate(
    store: Store, migrations: Sequence[Migration], dry_run: bool = False
) -> list[Step]:
    """Apply what is pending and return the steps that were due; safe for several runners at once.

    Raises MigrateError where a file changed after it was applied, or its SQL is refused. What came before
    that file stays applied.
    """
    if dry_run:
        steps = await status(store, migrations)
        return [step for step in steps if step.state == "pending"]
    await store.run(_make_table)
    return [step for one in migrations if (step := await _step(store, one, migrations))]


async def status(store: Store, migrations: Sequence[Migration]) -> list[Step]:
    """Where every migration stands; changes nothing."""

    async def work(connection: Connection) -> dict[int, Step]:
        return await _applied(connection, migrations)

    applied = await store.run(work)
    return [applied.get(one.number, Step(one.number, one.name, "pending")) for one in migrations]


async def _make_table(connection: Connection) -> None:
    await _alone(connection)
    await connection.script(TABLE)


async def _alone(connection: Connection) -> None:
    """Wait for other runners, for as long as they take."""
    await connection.script("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
    await connection.fetch("SELECT pg_advisory_xact_lock($1)", LOCK)


async def _step(store: Store, one: Migration, migrations: Sequence[Migration]) -> Step | None:
    """Apply one migration unless it is; None where nothing was to do."""

    async def work(connection: Connection) -> Step | None:
        await _alone(connection)
        if one.number in await _applied(connection, migrations):
            return None
        is_skipped = bool(one.requires) and not await _has(connection, one.requires)
        if not is_skipped:
            await connection.script(one.text)
        await connection.fetch(
            "INSERT INTO migrations (number, name, checksum, is_skipped) VALUES ($1, $2, $3, $4)",
            *(one.number, one.name, one.checksum, is_skipped),
        )
        return Step(one.number, one.name, "skipped" if is_skipped else "applied")

    try:
        return await store.run(work)
    except (StoreError, BadValue) as error:
        raise MigrateError(f"migration {one.number:03}_{one.name}: {error}") from error


async def _has(connection: Connection, extension: str) -> bool:
    found = await connection.fetch("SELECT FROM pg_extension WHERE extname = $1", extension)
    return bool(found)


async def _applied(connection: Connection, migrations: Sequence[Migration]) -> dict[int, Step]:
    """What the database has, by number; raises MigrateError where it is not what the files say."""
    if not await connection.fetch("SELECT WHERE to_regclass('migrations') IS NOT NULL"):
        return {}
    rows = await connection.fetch("SELECT * FROM migrations ORDER BY number")
    files = {one.number: one for one in migrations}
    steps = {}
    for row in rows:
        number, name = row["number"], row["name"]
        file = files.get(number)
        if file is None:
            raise MigrateError(
                f"the database has migration {number:03}_{name}, which this version does not know; "
                "it was migrated by a newer one: run that"
            )
        if file.checksum != row["checksum"]:
            raise MigrateError(
                f"migration {number:03}_{name} was applied as {row['checksum'][:12]} and is now "
                f"{file.checksum[:12]}: restore the file and write the change as a new migration"
            )
        state = "skipped" if row["is_skipped"] else "applied"
        steps[number] = Step(number, name, state, f"{row['applied_at']:%Y-%m-%dT%H:%M:%SZ}")
    return steps
