"""Write a ready-made WebSocket frame to a client's transport: one encode for all, no task per client.

Quart and Hypercorn spend 75-85 us per client and message; writing the same bytes to each transport
spends about 10. This needs two private names of Hypercorn, both in this file, and HTTP/1.1 without
compression; any other connection is served through `websocket.send`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import hypercorn.asyncio.run
import hypercorn.protocol.ws_stream
from hypercorn.asyncio.tcp_server import TCPServer

TEXT, BINARY, CLOSE, PING = 0x81, 0x82, 0x88, 0x89
SHORT_MAX, MEDIUM_MAX = 126, 1 << 16


@dataclass(eq=False)
class Line:
    """A connection as the fan-out sees it: where to write, and when anything was last heard."""

    transport: Any
    heard_at: float = field(default_factory=time.monotonic)


class _Noted:
    """A reader that notes when something came: pongs, too, which no application is told of."""

    def __init__(self, reader: Any, line: Line) -> None:
        self._reader, self._line = reader, line

    def at_eof(self) -> bool:
        return bool(self._reader.at_eof())

    async def read(self, most: int) -> bytes:
        data: bytes = await self._reader.read(most)
        self._line.heard_at = time.monotonic()
        return data


class _Server(TCPServer):
    """Hands the connection's line to the application as `scope["state"]["line"]`."""

    def __init__(
        self, app: Any, loop: Any, config: Any, context: Any, state: Any, reader: Any, writer: Any
    ) -> None:
        line = Line(writer.transport)
        lent = {**state, "line": line}
        super().__init__(app, loop, config, context, lent, _Noted(reader, line), writer)  # type: ignore[arg-type]


def install() -> None:
    """Make Hypercorn lend its transports and refuse compression (it costs 5 times the CPU)."""
    hypercorn.asyncio.run.TCPServer = _Server  # type: ignore[attr-defined]
    hypercorn.protocol.ws_stream.server_extensions_handshake = lambda *_: None  # type: ignore[attr-defined]


def line_of(scope: Any) -> Line | None:
    """The line of a plain HTTP/1.1 WebSocket, else None."""
    if scope.get("http_version") != "1.1":
        return None
    line: Line | None = (scope.get("state") or {}).get("line")
    return line


def frame(opcode: int, payload: bytes) -> bytes:
    """An unmasked, unfragmented frame (RFC 6455, 5.2)."""
    return _head(opcode, len(payload)) + payload


def payload_of(written: bytes) -> bytes:
    """What is in an unmasked frame."""
    return written[{126: 4, 127: 10}.get(written[1], 2) :]


def close_frame(code: int, reason: str) -> bytes:
    """A close frame with its code and reason (RFC 6455, 5.5.1)."""
    body = code.to_bytes(2, "big") + reason.encode()[:120]
    return _head(CLOSE, len(body)) + body


def ping_frame() -> bytes:
    """A ping without payload."""
    return _head(PING, 0)


def _head(first: int, size: int) -> bytes:
    if size < SHORT_MAX:
        return bytes([first, size])
    if size < MEDIUM_MAX:
        return bytes([first, 126]) + size.to_bytes(2, "big")
    return bytes([first, 127]) + size.to_bytes(8, "big")
