"""Scripted servers on loopback that speak vendors' real protocols, and misbehave where a script says so.

A script is a list of connections; each is a list of steps. After its last step a connection stays open
and says nothing; after the last connection further ones are served the last script again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


@dataclass(frozen=True)
class Say:
    """Send a message as JSON, or bytes as they are."""

    message: Any


@dataclass(frozen=True)
class Hear:
    """Wait for a message and remember it."""


@dataclass(frozen=True)
class Pause:
    """Say nothing for a while."""

    seconds: float


@dataclass(frozen=True)
class Close:
    """Close the connection with a code."""

    code: int = 1000


@dataclass(frozen=True)
class Reset:
    """End the TCP connection with RST."""


@dataclass(frozen=True)
class Fin:
    """End the TCP connection without a closing frame."""


@dataclass
class Scripted:
    """A running server."""

    scripts: Sequence[Sequence[Any]]
    url: str = ""
    heard: list[Any] = field(default_factory=list)
    connections: int = 0

    async def play(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        with contextlib.suppress(ConnectionClosed):
            for step in script:
                await self._do(step, connection)
            await connection.wait_closed()

    async def _do(self, step: Any, connection: ServerConnection) -> None:
        transport = connection.transport
        match step:
            case Say(bytes() as data):
                await connection.send(data)
            case Say(message):
                await connection.send(json.dumps(message))
            case Hear():
                self.heard.append(await connection.recv())
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Close(code):
                await connection.close(code)
            case Reset():
                raw: socket.socket = transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()
            case Fin():
                transport.close()


@contextlib.asynccontextmanager
async def scripted(*scripts: Sequence[Any]) -> AsyncIterator[Scripted]:
    """A server that plays scripts, on a free port of loopback."""
    server = Scripted(scripts)
    async with serve(server.play, "127.0.0.1", 0, compression=None) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}"
        yield server


def alpaca_hello(*symbols: str) -> list[Any]:
    """What Alpaca says until a subscription to trades stands."""
    return [
        Say([{"T": "success", "msg": "connected"}]),
        Hear(),
        Say([{"T": "success", "msg": "authenticated"}]),
        Hear(),
        Say([{"T": "subscription", "trades": list(symbols), "quotes": [], "bars": []}]),
    ]


def massive_hello() -> list[Any]:
    """What Massive says until one subscription stands."""
    status = [{"ev": "status", "status": "connected", "message": "Connected Successfully"}]
    return [
        Say(status),
        Hear(),
        Say([{"ev": "status", "status": "auth_success", "message": "authenticated"}]),
        Hear(),
        Say([{"ev": "status", "status": "success", "message": "subscribed to: T.A"}]),
    ]
