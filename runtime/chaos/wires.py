"""Connections to clients, over websockets or plain TCP, as a chaos feed talks on both."""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import msgpack
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from runtime import telemetry
from runtime.chaos.dialects import Answer, Client, encoded

log = telemetry.get_logger(__name__)

HOST = "127.0.0.1"
CLOSE_S = 1
MORE_BYTES = 500  # that half a frame says are to come
HALF_BYTES = 24  # of a record: the shortest that tells an event has 40
GONE = (ConnectionClosed, ConnectionError)  # the client, or a fault, has ended the connection


class Wire(Protocol):
    """One connection to a client."""

    client: Client
    transport: asyncio.Transport

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended it."""
        ...

    def heard(self) -> AsyncIterator[str | bytes]:
        """What the client says, as it comes, until the end."""
        ...

    def read(self, data: str | bytes) -> Any:
        """The message in what was heard; raises ValueError."""
        ...

    async def say(self, message: Any) -> None:
        """Send a message; raises one of GONE."""
        ...

    def half(self, message: Any) -> bytes:
        """The beginning of a message, of which more is to come."""
        ...

    async def close(self, code: int) -> None:
        """End it as the protocol does."""
        ...

    async def wait_closed(self) -> None:
        """Until the client has ended it."""
        ...


Serve = Callable[[Wire], Awaitable[None]]
Ask = Callable[[str, dict[str, str]], Answer]


class Listener(Protocol):
    """Who listens, and the connections."""

    port: int

    def abort(self) -> None:
        """Reset every connection, and listen no more."""
        ...

    async def close(self) -> None:
        """End every connection, and listen no more."""
        ...


# -- websockets, with REST on the same port


class WebsocketWire:
    """Frames of JSON, or of msgpack where the client's header asks for it."""

    def __init__(self, connection: ServerConnection) -> None:
        request = connection.request
        kind = request.headers.get("Content-Type", "") if request is not None else ""
        self.client = Client(codec="msgpack" if "msgpack" in kind else "json")
        self.transport = connection.transport
        self._connection = connection

    @property
    def is_open(self) -> bool:
        return self._connection.state is State.OPEN

    async def heard(self) -> AsyncIterator[str | bytes]:
        async for data in self._connection:
            yield data

    def read(self, data: str | bytes) -> Any:
        return msgpack.unpackb(data) if isinstance(data, bytes) else json.loads(data)

    async def say(self, message: Any) -> None:
        await self._connection.send(encoded(message, self.client.codec))

    def half(self, message: Any) -> bytes:
        data = encoded(message, self.client.codec)
        body = data.encode() if isinstance(data, str) else data
        kind = 0x81 if isinstance(data, str) else 0x82
        return struct.pack("!BBH", kind, 126, len(body) + MORE_BYTES) + body

    async def close(self, code: int) -> None:
        await self._connection.close(code)

    async def wait_closed(self) -> None:
        await self._connection.wait_closed()


class Websockets:
    """Listens for websockets, and answers other requests over HTTP."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.port: int = next(iter(server.sockets)).getsockname()[1]

    @classmethod
    async def listen(cls, port: int, serving: Serve, ask: Ask) -> Websockets:
        """On a port, 0: one that is free; raises OSError."""

        async def served(connection: ServerConnection) -> None:
            await serving(WebsocketWire(connection))

        def answer(_: ServerConnection, request: Request) -> Response | None:
            is_live = request.headers.get("Upgrade", "").lower() == "websocket"
            return None if is_live else _answer(request, ask)

        server = await serve(
            served, HOST, port, compression=None, process_request=answer, close_timeout=CLOSE_S
        )
        return cls(server)

    def abort(self) -> None:
        for one in list(self._server.connections):
            one.transport.abort()
        self._server.close()

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()


def _answer(request: Request, ask: Ask) -> Response:
    address = urlsplit(request.path)
    asked = {name: words[0] for name, words in parse_qs(address.query).items()}
    status, told = ask(address.path, asked)
    body = json.dumps(told).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
    headers["Connection"] = "close"
    return Response(status, http.HTTPStatus(status).phrase, headers, body)


# -- plain TCP


class LineWire:
    """Lines of `name=value|name=value` from the client, bytes to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.client = Client()
        self.transport: asyncio.Transport = writer.transport  # type: ignore[assignment]
        self._reader, self._writer = reader, writer
        self._ended = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return not self._ended.is_set() and not self.transport.is_closing()

    async def heard(self) -> AsyncIterator[str | bytes]:
        try:
            while line := await self._reader.readline():
                yield line
        except ValueError as error:  # a line longer than the reader's limit
            log.warning("not a line", reason=str(error))
        finally:
            self._ended.set()

    def read(self, data: str | bytes) -> dict[str, str]:
        text = data.decode() if isinstance(data, bytes) else data
        return dict(pair.split("=", 1) for pair in text.strip().split("|"))

    async def say(self, message: Any) -> None:
        self._writer.write(message)
        await self._writer.drain()

    def half(self, message: Any) -> bytes:
        return bytes(message[:HALF_BYTES])

    async def close(self, code: int) -> None:
        del code  # TCP knows none
        self.transport.close()

    async def wait_closed(self) -> None:
        await self._ended.wait()


class Lines:
    """Listens for plain TCP; there is no REST beside it."""

    def __init__(self) -> None:
        self.port = 0
        self._sessions: dict[LineWire, asyncio.Task[None] | None] = {}
        self._server: asyncio.Server | None = None

    @classmethod
    async def listen(cls, port: int, serving: Serve, ask: Ask) -> Lines:
        """On a port, 0: one that is free; raises OSError."""
        del ask
        self = cls()

        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wire = LineWire(reader, writer)
            self._sessions[wire] = asyncio.current_task()
            try:
                await serving(wire)
            finally:
                del self._sessions[wire]
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

        self._server = await asyncio.start_server(served, HOST, port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def abort(self) -> None:
        for one in self._sessions:
            one.transport.abort()
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        self.abort()
        await asyncio.gather(*(one for one in self._sessions.values() if one is not None))
        if self._server is not None:
            await self._server.wait_closed()
