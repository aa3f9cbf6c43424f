"""A chaos feed: one server for a vendor's feed, and REST where it has that, on loopback, with faults at given prints."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from runtime import telemetry
from runtime.chaos.databento import Databento
from runtime.chaos.dialects import Again, Alpaca, Answer, Binance, Coinbase, Dialect, Massive
from runtime.chaos.faults import Fault
from runtime.chaos.tape import Print, Tape
from runtime.chaos.wires import GONE, HOST, Lines, Listener, Websockets, Wire

log = telemetry.get_logger(__name__)

TICK_S = 0.02
DIALECTS: dict[str, type[Dialect]] = {
    "alpaca": Alpaca,
    "massive": Massive,
    "databento": Databento,
    "binance": Binance,
    "coinbase": Coinbase,
}
WITHOUT_WEBSOCKET = ("databento",)


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
        self._listener: Listener | None = None
        self._returning: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """What `jetscan ingest` is given to read from it."""
        return self.dialect.url(f"{HOST}:{self.port}")

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
            if self._listener is not None:
                await self._listener.close()

    async def _listen(self, port: int) -> None:
        listen = Lines.listen if self.vendor in WITHOUT_WEBSOCKET else Websockets.listen
        self._listener = await listen(port, self._serve, self._again)
        self.port = self._listener.port
        self.back_at_s = time.monotonic()

    def _again(self, path: str, asked: dict[str, str]) -> Answer:
        """What a request of what was printed is answered with."""
        self.counts["requests over REST"] += 1
        if not isinstance(self.dialect, Again):
            return 404, {"message": "not found"}
        self.tape.run()
        try:
            return self.dialect.again(path, asked, self.tape)
        except (KeyError, ValueError) as error:
            return 400, {"message": f"not understood: {error}"}

    # -- a session

    async def _serve(self, wire: Wire) -> None:
        self.counts["connections"] += 1
        self.connected_at_s.append(time.monotonic())
        with contextlib.suppress(*GONE):
            for message in self.dialect.greeting():
                await wire.say(message)
            hearing = asyncio.create_task(self._hear(wire))
            try:
                await self._send(wire)
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _hear(self, wire: Wire) -> None:
        async for data in wire.heard():
            try:
                answers = self.dialect.hear(wire.read(data), wire.client, self._is_refusing)
            except (ValueError, AttributeError, TypeError, KeyError) as error:
                log.warning("not understood", said=str(data)[:80], reason=str(error))
                self.counts["messages not understood"] += 1
                continue
            for one in answers:
                await wire.say(one)

    async def _send(self, wire: Wire) -> None:
        """Prints as they come, until a fault ends the connection."""
        client, sent = wire.client, self.tape.run()
        held = 0  # prints to be had before anything is sent
        last: list[Print] = []
        said_s = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            if not wire.is_open:
                return
            end = self.tape.run()
            if not client.symbols:
                sent = end
                continue
            self.tape.begin()
            is_behind = bool(client.start_ns)
            if is_behind:
                sent, client.start_ns = self.tape.place(client.start_ns - self._skew_ns), 0
            at = min([end, *(one.at for one in self._faults[:1])])
            if at - sent >= held and at > sent:
                last = self.tape.between(sent, at, client.wants())
                await self._say(wire, last)
                sent, held, said_s = at, 0, time.monotonic()
            if is_behind and client.caught_up is not None:
                await wire.say(client.caught_up())
            if client.alive is not None and time.monotonic() - said_s > client.alive_s:
                await wire.say(client.alive())
                said_s = time.monotonic()
            while self._faults and self._faults[0].at <= sent:
                fault = self._faults.pop(0)
                self.counts[fault.kind] += 1
                self.fault_at_s = time.monotonic()
                log.info("fault", kind=fault.kind, argument=fault.argument, at_print=sent)
                if fault.kind == "giant":
                    held = int(fault.number)
                elif await self._do(fault, wire, last):
                    return

    async def _say(self, wire: Wire, prints: Sequence[Print]) -> None:
        if not prints:
            return
        if self._skew_ns:
            prints = [dataclasses.replace(one, ts_ns=one.ts_ns + self._skew_ns) for one in prints]
        for message in self.dialect.frame(prints):
            await wire.say(message)
        self.counts["prints"] += len(prints)

    async def _do(self, fault: Fault, wire: Wire, last: list[Print]) -> bool:
        """Have a fault happen; whether the session is over."""
        doing: dict[str, Callable[[], Any]] = {
            "drop": wire.transport.close,
            "reset": lambda: _reset(wire),
            "half": lambda: self._half(wire, last),
            "away": lambda: self._go_away(fault.number),
        }
        if fault.kind in doing:
            doing[fault.kind]()
            return True
        match fault.kind:
            case "close":
                await wire.close(int(fault.number))
            case "silence":
                await wire.wait_closed()
            case "error":
                await wire.say(self.dialect.error(fault.argument))
                await wire.close(1008)
            case "slow":
                for message in self.dialect.slow():
                    await wire.say(message)
                if self.dialect.is_patient:
                    return False
                await wire.close(1008)
            case "auth":
                self._is_refusing = True
                return False
            case "skew":
                self._skew_ns = int(fault.number * 1e9)
                return False
            case "duplicate":
                await self._say(wire, last)
                return False
            case "reorder":
                await self._say(wire, last[::-1])
                return False
        return True

    def _half(self, wire: Wire, last: list[Print]) -> None:
        """The beginning of a frame that says it is longer."""
        for message in self.dialect.frame(last)[:1]:
            wire.transport.write(wire.half(message))
        wire.transport.close()

    def _go_away(self, seconds: float) -> None:
        """End every connection, and listen again after a while."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.abort()
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


def _reset(wire: Wire) -> None:
    raw: socket.socket = wire.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.transport.abort()
