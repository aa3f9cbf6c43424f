"""A chaos feed: one server for a vendor's websocket and REST, on loopback, with faults at given prints."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http
import json
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgpack
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from runtime import telemetry
from runtime.chaos.dialects import DIALECTS, Client, Dialect, encoded
from runtime.chaos.faults import Fault
from runtime.chaos.tape import Print, Tape

log = telemetry.get_logger(__name__)

TICK_S = 0.02
HELLO_S = 10.0


class ChaosFeed:
    """What a server is doing."""

    def __init__(
        self,
        vendor: str,
        faults: Sequence[Fault] = (),
        rate: float = 200.0,
        seed: int = 1,
        tape: Tape | None = None,
    ) -> None:
        self.dialect: Dialect = DIALECTS[vendor]()
        self.tape = tape or Tape(self.dialect.symbols, rate, seed)
        self.counts: Counter[str] = Counter()
        self.port = 0
        self.back_at_s = 0.0  # when it listened again, of a monotonic clock
        self.fault_at_s = 0.0  # and when the newest fault happened
        self.connected_at_s: list[float] = []  # of each connection
        self.vendor = vendor
        self._faults = list(faults)
        self._is_refusing = False
        self._skew_ns = 0
        self._server: Server | None = None
        self._returning: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """What `jetscan ingest` is given to read from it."""
        address = f"127.0.0.1:{self.port}"
        return self.dialect.url(f"ws://{address}", f"http://{address}")

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[ChaosFeed]:
        """Listen, on a port that is free if none is given; raises OSError."""
        await self._listen(port)
        try:
            yield self
        finally:
            if self._returning is not None:
                self._returning.cancel()
                await asyncio.gather(self._returning, return_exceptions=True)
            if self._server is not None:
                self._server.close()
                await self._server.wait_closed()

    async def _listen(self, port: int) -> None:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            port,
            compression=None,
            process_request=self._answer,
            close_timeout=1,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self.back_at_s = time.monotonic()

    # -- REST

    async def _answer(self, _: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return None
        address = urlsplit(request.path)
        asked = {name: words[0] for name, words in parse_qs(address.query).items()}
        self.tape.run()
        try:
            status, told = self.dialect.again(address.path, asked, self.tape)
        except (KeyError, ValueError) as error:
            status, told = 400, {"message": f"not understood: {error}"}
        self.counts["requests over REST"] += 1
        body = json.dumps(told).encode()
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
        headers["Connection"] = "close"
        return Response(status, http.HTTPStatus(status).phrase, headers, body)

    # -- a session

    async def _serve(self, connection: ServerConnection) -> None:
        self.counts["connections"] += 1
        self.connected_at_s.append(time.monotonic())
        request = connection.request
        kind = request.headers.get("Content-Type", "") if request is not None else ""
        client = Client(codec="msgpack" if "msgpack" in kind else "json")
        with contextlib.suppress(ConnectionClosed):
            for message in self.dialect.greeting():
                await connection.send(encoded(message, client.codec))
            hearing = asyncio.create_task(self._hear(connection, client))
            try:
                await self._send(connection, client)
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _hear(self, connection: ServerConnection, client: Client) -> None:
        async for data in connection:
            try:
                message = msgpack.unpackb(data) if isinstance(data, bytes) else json.loads(data)
                answers = self.dialect.hear(message, client, self._is_refusing)
            except (ValueError, AttributeError, TypeError, KeyError) as error:
                log.warning("not understood", said=str(data)[:80], reason=str(error))
                self.counts["messages not understood"] += 1
                continue
            for one in answers:
                await connection.send(encoded(one, client.codec))

    async def _send(self, connection: ServerConnection, client: Client) -> None:
        """Prints as they come, until a fault ends the connection."""
        sent = self.tape.run()
        held = 0  # prints to be had before anything is sent
        last: list[Print] = []
        while True:
            await asyncio.sleep(TICK_S)
            if connection.close_code is not None:
                return
            end = self.tape.run()
            if not client.symbols:
                sent = end
                continue
            self.tape.begin()
            at = min([end, *(one.at for one in self._faults[:1])])
            if at - sent >= held and at > sent:
                last = self.tape.between(sent, at, client.wants())
                await self._say(connection, client, last)
                sent, held = at, 0
            while self._faults and self._faults[0].at <= sent:
                fault = self._faults.pop(0)
                self.counts[fault.kind] += 1
                self.fault_at_s = time.monotonic()
                log.info("fault", kind=fault.kind, argument=fault.argument, at_print=sent)
                if fault.kind == "giant":
                    held = int(fault.number)
                elif await self._do(fault, connection, client, last):
                    return

    async def _say(
        self, connection: ServerConnection, client: Client, prints: Sequence[Print]
    ) -> None:
        if not prints:
            return
        if self._skew_ns:
            prints = [dataclasses.replace(one, ts_ns=one.ts_ns + self._skew_ns) for one in prints]
        for message in self.dialect.frame(prints):
            await connection.send(encoded(message, client.codec))
        self.counts["prints"] += len(prints)

    async def _do(
        self, fault: Fault, connection: ServerConnection, client: Client, last: list[Print]
    ) -> bool:
        """Have a fault happen; whether the session is over."""
        doing: dict[str, Callable[[], Any]] = {
            "drop": connection.transport.close,
            "reset": lambda: _reset(connection),
            "half": lambda: self._half(connection, client, last),
            "away": lambda: self._go_away(fault.number),
        }
        if fault.kind in doing:
            doing[fault.kind]()
            return True
        match fault.kind:
            case "close":
                await connection.close(int(fault.number))
            case "silence":
                await connection.wait_closed()
            case "error":
                await connection.send(encoded(self.dialect.error(fault.argument), client.codec))
                await connection.close(1008)
            case "auth":
                self._is_refusing = True
                return False
            case "skew":
                self._skew_ns = int(fault.number * 1e9)
                return False
            case "duplicate":
                await self._say(connection, client, last)
                return False
            case "reorder":
                await self._say(connection, client, last[::-1])
                return False
        return True

    def _half(self, connection: ServerConnection, client: Client, last: list[Print]) -> None:
        """The beginning of a frame that says it is longer."""
        data = encoded(self.dialect.frame(last or [])[:1], client.codec)
        body = data.encode() if isinstance(data, str) else data
        head = struct.pack("!BBH", 0x81 if isinstance(data, str) else 0x82, 126, len(body) + 500)
        connection.transport.write(head + body)
        connection.transport.close()

    def _go_away(self, seconds: float) -> None:
        """End every connection, and listen again after a while."""
        server, self._server = self._server, None
        if server is None:
            return
        for one in list(server.connections):
            one.transport.abort()
        server.close()
        self._returning = asyncio.create_task(self._return(seconds))

    async def _return(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listen(self.port)
        log.info("listening again", port=self.port)


async def play(
    vendor: str,
    faults: Sequence[Fault],
    rate: float,
    seed: int,
    port: int,
    seconds: float,
    begun: Callable[[str, tuple[str, ...]], None],
) -> dict[str, int]:
    """Run a server until a signal, or for some seconds; what happened, by how often. Raises OSError."""
    feed, stopping = ChaosFeed(vendor, faults, rate, seed), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with feed.running(port):
        begun(feed.url, feed.dialect.keys)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds or None):
                await stopping.wait()
    return dict(feed.counts)


def _reset(connection: ServerConnection) -> None:
    raw: socket.socket = connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()
