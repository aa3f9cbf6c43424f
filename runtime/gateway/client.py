"""One WebSocket connection: who it is, how it is written to, what it wants and has been told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from runtime.gateway import fanout
from runtime.gateway.access import Caller
from runtime.gateway.updates import JSON, Codec, Update
from runtime.gateway.wanted import Wanted

CLOSING_S = 2.0  # a client that does not answer a close by then is cut off
WAITING_MAX = 256  # messages for a connection without a transport


@dataclass(eq=False)
class Client:
    """A connection; `caller` is None until it has told who it is.

    line     where to write; None = over `send`, by a task of its own
    cursor   alerts up to this number were written, or are not wanted
    """

    line: fanout.Line | None
    send: Callable[[str | bytes], Awaitable[None]]
    caller: Caller | None = None
    codec: Codec = JSON
    cursor: int = 0
    hidden: frozenset[str] = frozenset()  # rules whose alerts it may not see
    wanted: Wanted = field(default_factory=Wanted)
    topics: set[str] = field(default_factory=set)  # names of what it follows
    is_held: bool = False  # it has just joined and may resume: alerts wait
    is_resuming: bool = False  # older alerts are on their way: newer ones wait
    late_until: int = 0  # alerts up to this number are marked late
    full_since: float = 0.0
    begun_at: float = field(default_factory=time.monotonic)
    pinged_at: float = field(default_factory=time.monotonic)
    number: int = field(default_factory=itertools.count(1).__next__)
    closed: tuple[int, str] | None = None  # code and reason, once we close it
    waiting: list[bytes] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def user(self) -> str:
        """Who it is; "" before it has told."""
        return self.caller.user if self.caller else ""

    @property
    def is_free(self) -> bool:
        """Whether what was written before has left."""
        if self.closed is not None:
            return False
        if self.line is None:
            return not self.waiting
        transport = self.line.transport
        return transport.get_write_buffer_size() == 0 and not transport.is_closing()

    def write(self, update: Update) -> None:
        """Write at once; a connection without a transport is written by its own task."""
        if self.line is not None:
            self.line.transport.write(update.frame(self.codec))
        else:
            self.wait(update.payload(self.codec))

    def write_all(self, updates: list[Update]) -> None:
        """Write several at once."""
        if self.line is not None:
            self.line.transport.write(b"".join([one.frame(self.codec) for one in updates]))
        else:
            for one in updates:
                self.wait(one.payload(self.codec))

    def wait(self, payload: bytes) -> None:
        """Have a message written by the connection's task."""
        if len(self.waiting) >= WAITING_MAX:
            self.close(1008, "too many messages wait")
            return
        self.waiting.append(payload)
        self.wake.set()

    def tell(self, message: dict[str, Any]) -> None:
        """Write a message for this client alone."""
        if self.closed is None:
            self.write(Update(message))

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Read nothing from the client meanwhile: what it says would be queued without end."""
        if self.line is not None:
            self.line.transport.pause_reading()
        try:
            yield
        finally:
            if self.line is not None:
                self.line.transport.resume_reading()

    def ping(self) -> None:
        """Have the client say that it is there."""
        if self.line is not None:
            self.line.transport.write(fanout.ping_frame())

    def close(self, code: int, reason: str) -> None:
        """Tell the client why it is closed; it has CLOSING_S to take its leave."""
        if self.closed is not None:
            return
        self.closed = (code, reason)
        self.wake.set()
        if self.line is not None:
            transport = self.line.transport
            transport.write(fanout.close_frame(code, reason))
            asyncio.get_running_loop().call_later(CLOSING_S, transport.abort)

    def cut(self) -> None:
        """End the connection without a word: nobody reads there."""
        self.closed = self.closed or (1006, "")
        self.wake.set()
        if self.line is not None:
            self.line.transport.abort()


async def write_waiting(client: Client, close: Callable[[int, str], Awaitable[None]]) -> None:
    """Write for a connection that has no transport of its own, until it is closed."""
    while client.closed is None:
        await client.wake.wait()
        client.wake.clear()
        while client.waiting:
            payload = client.waiting[0]
            await client.send(payload.decode() if client.codec is JSON else payload)
            client.waiting.pop(0)
    await close(*client.closed)
