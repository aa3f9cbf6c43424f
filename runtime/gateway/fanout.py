"""Write a ready-made WebSocket frame to a client's transport: one encode for all, no task per client.

Quart and Hypercorn spend 75-85 us per client and message; writing the same bytes to each transport
spends about 10. This needs two private names of Hypercorn, both in this file, and HTTP/1.1 without
compression; any other connection is served through `websocket.send`.
"""

from __future__ import annotations

from typing import Any

import hypercorn.asyncio.run
import hypercorn.protocol.ws_stream
from hypercorn.asyncio.tcp_server import TCPServer

TEXT, CLOSE, PING = 0x81, 0x88, 0x89
SHORT_MAX, MEDIUM_MAX = 126, 1 << 16


class _Server(TCPServer):
    """Hands the connection's transport to the application as `scope["state"]["transport"]`."""

    def __init__(
        self, app: Any, loop: Any, config: Any, context: Any, state: Any, reader: Any, writer: Any
    ) -> None:
        lent = {**state, "transport": writer.transport}
        super().__init__(app, loop, config, context, lent, reader, writer)


def install() -> None:
    """Make Hypercorn lend its transports and refuse compression (it costs 5 times the CPU)."""
    hypercorn.asyncio.run.TCPServer = _Server  # type: ignore[attr-defined]
    hypercorn.protocol.ws_stream.server_extensions_handshake = lambda *_: None  # type: ignore[attr-defined]


def transport_of(scope: Any) -> Any:
    """The transport of a plain HTTP/1.1 WebSocket, else None."""
    if scope.get("http_version") != "1.1":
        return None
    return (scope.get("state") or {}).get("transport")


def text_frame(payload: bytes) -> bytes:
    """An unmasked, unfragmented text frame (RFC 6455, 5.2)."""
    return _head(TEXT, len(payload)) + payload


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
