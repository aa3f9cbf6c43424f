"""A client of the WebSocket: messages as an async iterator that survives restarts and loses no alert.

    async with Feed("ws://127.0.0.1:8090/ws") as feed:
        await feed.follow_toplist("gainers_5m")
        async for message in feed:
            print(message["type"], message)

The connection is made again when it ends, after a random wait that grows (full jitter), and everything is
followed again. Alerts go on after the last one that was received: those that came in between are marked
`late`, each comes once and in order, and what the gateway no longer has is told as a `gap`. Toplists are
followed by what changes and given whole. docs/websocket.md has the messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import msgpack
import websockets
from websockets.asyncio.client import ClientConnection, connect

Message = dict[str, Any]
Token = str | Callable[[], Awaitable[str]]

WAIT_S, WAIT_MAX_S = (
    0.25,
    15.0,
)  # the wait before a connection is random below this, doubled each time
ANSWER_S = 10.0
MESSAGE_BYTES_MAX = 4 << 20
PACKED = "jetscan.msgpack"
POLICY = 1008  # the code of a connection that the gateway does not want
REFUSED = (400, 401, 403, 404)


class Refused(Exception):
    """The gateway does not want this client; to try again would not help."""


class Feed:
    """What one client follows.

    token    a text, or a coroutine function that is asked for one before every connection
    after    the number of the last alert that is known, 0 = all that are held; None = from now on
    packed   msgpack in place of JSON: smaller, and the same messages
    """

    def __init__(
        self, url: str, token: Token = "", after: int | None = None, packed: bool = False
    ) -> None:
        self.url = url
        self.after = after
        self.reconnects = 0
        self._token, self._is_packed = token, packed
        self._wanted: dict[str, Message] = {}  # what was asked for, to be asked again
        self._lists: dict[str, dict[str, Message]] = {}
        self._connection: ClientConnection | None = None
        self._closing = False
        self._is_resuming = False

    async def __aenter__(self) -> Feed:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; the iterator ends with it."""
        self._closing = True
        if self._connection is not None:
            await self._connection.close()

    # -- what is followed

    async def follow_alerts(
        self,
        symbols: Iterable[str] = (),
        rules: Iterable[str] = (),
        watchlists: Iterable[str] = (),
    ) -> None:
        """Only alerts of these; without any such call, all alerts."""
        named = {"symbols": [*symbols], "rules": [*rules], "watchlists": [*watchlists]}
        await self._ask({"type": "subscribe", **{k: v for k, v in named.items() if v}})

    async def follow_toplist(self, name: str) -> None:
        """A toplist, whole, whenever it changes."""
        await self._ask({"type": "subscribe_toplist", "toplist_id": name, "deltas": True})

    async def follow_bars(self, symbols: Iterable[str]) -> None:
        """The running bars of symbols."""
        await self._ask({"type": "subscribe_bars", "symbols": [*symbols]})

    async def follow_metrics(self, symbol: str, names: Iterable[str]) -> None:
        """Metrics of a symbol, once a second if they change."""
        await self._ask({"type": "subscribe_metrics", "symbol": symbol, "names": [*names]})

    async def follow_functions(self) -> None:
        """How the functions are; for admins."""
        await self._ask({"type": "subscribe_functions"})

    async def _ask(self, message: Message) -> None:
        self._wanted[json.dumps(message, sort_keys=True)] = message
        if self._connection is not None:
            with contextlib.suppress(websockets.ConnectionClosed):
                await self._send(message)

    async def _send(self, message: Message) -> None:
        if self._connection is not None:
            await self._connection.send(
                msgpack.packb(message) if self._is_packed else json.dumps(message)
            )

    # -- what comes

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Message]:
        failures = 0
        while not self._closing:
            try:
                async with await self._connected() as connection:
                    self._connection = connection
                    await self._begin()
                    failures = 0
                    async for told in connection:
                        message = self._take(self._read(told))
                        if message is not None:
                            yield message
                self._judge(connection.close_code, connection.close_reason)
            except websockets.ConnectionClosed as error:
                closed = error.rcvd
                self._judge(closed.code if closed else None, closed.reason if closed else "")
            except (OSError, TimeoutError, websockets.InvalidHandshake) as error:
                refuse(error)
            finally:
                self._connection = None
            if not self._closing:
                self.reconnects += 1
                await asyncio.sleep(wait_s(failures))
                failures += 1

    def _judge(self, code: int | None, reason: str | None) -> None:
        """Whether to connect again after a close; a token that is made anew each time may help."""
        if code == POLICY and not callable(self._token):
            raise Refused(reason or "the gateway closed the connection")

    async def _connected(self) -> ClientConnection:
        return await connect(
            self.url,
            subprotocols=[websockets.Subprotocol(PACKED)] if self._is_packed else None,
            max_size=MESSAGE_BYTES_MAX,
            open_timeout=ANSWER_S,
            compression=None,
        )

    async def _begin(self) -> None:
        """Tell who we are, ask for everything again, and go on with the alerts."""
        token = await self._token() if callable(self._token) else self._token
        if token:
            await self._send({"type": "auth", "token": token})
        self._lists.clear()
        for message in self._wanted.values():
            await self._send(message)
        self._is_resuming = self.after is not None
        if self._is_resuming:
            await self._send({"type": "resume", "after": self.after})
        else:
            await self._send({"type": "ping"})  # its answer tells from where on alerts are ours

    def _read(self, told: str | bytes) -> Message:
        message: Message = msgpack.unpackb(told) if isinstance(told, bytes) else json.loads(told)
        return message

    def _take(self, message: Message) -> Message | None:
        """What a message means for us; None for what is not news."""
        kind = message["type"]
        if kind == "alert":
            number = message["data"]["seq"]
            if self._is_resuming or (self.after is not None and number <= self.after):
                return None  # what comes before the answer to `resume` comes again after it
            self.after = number
        elif kind == "gap":
            self.after = max(self.after or 0, message["to"])
        elif kind == "pong":
            self.after = message.get("seq") if self.after is None else self.after
            return None
        elif kind == "success":
            if message["data"]["action"] == "resumed":
                self._is_resuming = False
            return None
        elif kind == "toplist_update":
            return self._whole(message)
        elif kind == "error" and message["code"] == "unauthorized" and not callable(self._token):
            raise Refused(message["message"])
        return message

    def _whole(self, message: Message) -> Message | None:
        """A toplist with what changed put into what was known."""
        data = message["data"]
        name = data["toplist_id"]
        if data.get("snapshot", True):
            self._lists[name] = {}
        rows = self._lists.setdefault(name, {})
        rows.update({row["symbol"]: row for row in data["rankings"]})
        for symbol in data.get("gone", ()):
            rows.pop(symbol, None)
        ranked = sorted(rows.values(), key=lambda row: row["rank"])
        return {**message, "data": {**data, "rankings": ranked}}


def wait_s(failures: int) -> float:
    """How long to wait before the next connection: anything up to a bound that doubles (full jitter)."""
    return random.uniform(0, min(WAIT_MAX_S, WAIT_S * 2.0 ** min(failures, 16)))


def refuse(error: Exception) -> None:
    """Raise Refused for an answer that stays the same however often it is asked for."""
    if isinstance(error, websockets.InvalidURI):
        raise Refused(str(error)) from error
    if isinstance(error, websockets.InvalidStatus) and error.response.status_code in REFUSED:
        body = (error.response.body or b"").decode("utf-8", "replace")
        with contextlib.suppress(ValueError, AttributeError):
            body = str(json.loads(body).get("detail", body))
        raise Refused(f"the gateway answers {error.response.status_code}: {body}") from error
