"""The WebSocket's messages: what a client may say, and what it is answered."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack

from runtime.gateway.client import Client
from runtime.gateway.following import Following
from runtime.gateway.updates import MSGPACK
from runtime.gateway.wanted import SUBSCRIPTIONS_MAX, Names

MESSAGES_PER_S = 50
BURST = 100
SYMBOL_MAX = 64
METRICS_SYMBOLS_MAX = 50  # of one connection
METRICS_MAX = 64  # of one symbol: as many as the scanner answers at once

Message = dict[str, Any]


class TooFast(Exception):
    """The client sends more than it may."""


class Conversation:
    """One client's messages; before it has told who it is, it may say `auth` and `ping` only."""

    def __init__(self, following: Following, client: Client) -> None:
        self._following, self._hub, self._client = following, following.hub, client
        self._allowance = float(BURST)
        self._asked_at = time.monotonic()
        self._open: dict[str, Callable[[Message], Awaitable[None]]] = {
            "auth": self._auth,
            "ping": self._ping,
        }
        self._verbs = self._open | {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "subscribe_toplist": self._subscribe_toplist,
            "unsubscribe_toplist": self._unsubscribe_toplist,
            "subscribe_bars": self._subscribe_bars,
            "unsubscribe_bars": self._unsubscribe_bars,
            "subscribe_metrics": self._subscribe_metrics,
            "unsubscribe_metrics": self._unsubscribe_metrics,
            "subscribe_functions": self._subscribe_functions,
            "unsubscribe_functions": self._unsubscribe_functions,
            "resume": self._resume,
        }

    async def hear(self, told: str | bytes) -> None:
        """Answer one message; raises TooFast."""
        self._count()
        try:
            message = self._read(told)
            kind = message.get("type")
            verb = self._verbs.get(kind) if isinstance(kind, str) else None
            if verb is None:
                known = ", ".join(self._verbs)
                self._error("unknown_message_type", f"type: expected one of {known}")
            elif self._client.caller is None and kind not in self._open:
                self._error("unauthorized", 'expected {"type": "auth", "token": TOKEN} first')
            else:
                await self._try(verb, message)
        except ValueError as error:
            self._error("invalid_message", str(error))

    async def _try(self, verb: Callable[[Message], Awaitable[None]], message: Message) -> None:
        try:
            await verb(message)
        except ValueError as error:
            self._error("invalid_request", str(error))

    def _read(self, told: str | bytes) -> Message:
        """The message; raises ValueError."""
        is_packed = self._client.codec is MSGPACK and isinstance(told, bytes)
        try:
            message = msgpack.unpackb(told) if is_packed else json.loads(told)
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
            raise ValueError(
                f"expected a {'msgpack map' if is_packed else 'JSON object'}"
            ) from error
        if not isinstance(message, dict):
            raise ValueError(f"expected an object, found {type(message).__name__}")
        return message

    def _count(self) -> None:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._asked_at) * MESSAGES_PER_S)
        self._asked_at = now
        if self._allowance < 1:
            raise TooFast
        self._allowance -= 1

    def _error(self, code: str, text: str) -> None:
        self._client.tell({"type": "error", "code": code, "message": text})

    def _success(self, action: str, data: Message) -> None:
        self._client.tell({"type": "success", "data": {"action": action, "data": data}})

    # -- who

    async def _auth(self, message: Message) -> None:
        token = message.get("token")
        if not isinstance(token, str):
            raise ValueError("token: expected a text")
        caller = self._following.authenticate(self._client, token)
        if caller is not None:
            told: Message = {"user_id": caller.user, "roles": sorted(caller.roles)}
            if caller.expires_s != math.inf:
                told["expires_in"] = max(0, int(caller.expires_s - time.time()))
            self._success("authenticated", told)

    async def _ping(self, _: Message) -> None:
        self._hub.release(self._client)
        self._client.tell({"type": "pong", "seq": self._client.cursor})

    # -- alerts

    async def _subscribe(self, message: Message) -> None:
        symbols, rules, watchlists = _named(message)
        if watchlists:
            known = await self._following.watchlists_of(self._client)
            self._client.wanted.look_up(known)
            unknown = sorted(watchlists - known.keys())
            if unknown:
                raise ValueError(f"watchlists: {unknown[0]!r} is no list of yours")
        self._client.wanted.add(rules, symbols, watchlists)
        self._success("subscribed", _shown(message))
        if message.get("bars") is True:
            self._follow_bars(symbols)

    async def _unsubscribe(self, message: Message) -> None:
        symbols, rules, watchlists = _named(message)
        self._client.wanted.remove(rules, symbols, watchlists)
        self._hub.leave_bars(self._client, symbols)
        self._success("unsubscribed", _shown(message))

    async def _resume(self, message: Message) -> None:
        after = message.get("after")
        if isinstance(after, bool) or not isinstance(after, int) or after < 0:
            raise ValueError(
                "after: expected the number of the last alert received, 0 for all held"
            )
        self._success("resumed", {"after": after, "newest": self._hub.newest})
        await self._following.resume(self._client, after)

    # -- toplists

    async def _subscribe_toplist(self, message: Message) -> None:
        name = _toplist(message)
        self._check_room(f"list:{name}")
        is_delta = message.get("deltas", False)
        if not isinstance(is_delta, bool):
            raise ValueError(f"deltas: expected true or false, found {is_delta!r}")
        if not self._following.may_follow(self._client.user, name):
            raise ValueError(f"toplist_id: {name} is no list of yours")
        self._success("subscribed_toplist", {"toplist_id": name})
        self._hub.follow_list(self._client, name, is_delta)

    async def _unsubscribe_toplist(self, message: Message) -> None:
        name = _toplist(message)
        self._hub.leave_list(self._client, name)
        self._success("unsubscribed_toplist", {"toplist_id": name})

    # -- bars and metrics

    async def _subscribe_bars(self, message: Message) -> None:
        symbols = _texts(message, "symbols", "symbol")
        self._success("subscribed_bars", {"symbols": sorted(symbols)})
        self._follow_bars(symbols)

    def _follow_bars(self, symbols: Names) -> None:
        self._check_room(*(f"bar:{one}" for one in symbols))
        self._hub.follow_bars(self._client, sorted(symbols))

    async def _unsubscribe_bars(self, message: Message) -> None:
        symbols = _texts(message, "symbols", "symbol")
        self._hub.leave_bars(self._client, symbols)
        self._success("unsubscribed_bars", {"symbols": sorted(symbols)})

    async def _subscribe_metrics(self, message: Message) -> None:
        symbol = _symbol(message)
        names = frozenset(" ".join(_texts(message, "names", "name")).split())
        if len(names) > METRICS_MAX:
            raise ValueError(f"names: at most {METRICS_MAX} metrics of a symbol")
        followed = self._following.metrics.symbols_of(self._client)
        if symbol not in followed and len(followed) >= METRICS_SYMBOLS_MAX:
            raise ValueError(f"at most {METRICS_SYMBOLS_MAX} symbols with metrics per connection")
        self._following.metrics.check(sorted(names))
        self._success("subscribed_metrics", {"symbol": symbol, "names": sorted(names)})
        self._following.metrics.follow(self._client, symbol, names)

    async def _unsubscribe_metrics(self, message: Message) -> None:
        symbol = _symbol(message)
        self._following.metrics.leave(self._client, symbol)
        self._success("unsubscribed_metrics", {"symbol": symbol})

    # -- functions

    async def _subscribe_functions(self, _: Message) -> None:
        if self._client.caller is None or "admin" not in self._client.caller.roles:
            self._error("unauthorized", "expected the role admin")
            return
        self._success("subscribed_functions", {})
        self._following.functions.follow(self._client)

    async def _unsubscribe_functions(self, _: Message) -> None:
        self._following.functions.leave(self._client)
        self._success("unsubscribed_functions", {})

    def _check_room(self, *names: str) -> None:
        """Whether the connection may follow these topics as well; raises ValueError."""
        fresh = sum(name not in self._client.topics for name in names)
        if len(self._client.topics) + fresh > SUBSCRIPTIONS_MAX:
            raise ValueError(f"at most {SUBSCRIPTIONS_MAX} toplists and bars per connection")


def _named(message: Message) -> tuple[Names, Names, Names]:
    """Symbols, rules and watchlists of a subscription, at least one of all."""
    symbols = _texts(message, "symbols", "symbol", is_optional=True)
    rules = _texts(message, "rules", "rule", is_optional=True)
    watchlists = _texts(message, "watchlists", "watchlist", is_optional=True)
    if not symbols and not rules and not watchlists:
        raise ValueError("expected `symbol`, `symbols`, `rules` or `watchlists`")
    return symbols, rules, watchlists


def _shown(message: Message) -> Message:
    """What the client named, as it named it."""
    fields = ("symbol", "symbols", "rule", "rules", "watchlist", "watchlists")
    return {name: message[name] for name in fields if name in message}


def _texts(message: Message, many: str, one: str, is_optional: bool = False) -> Names:
    """The texts of a field that holds many of them, or of its sister that holds one."""
    told = message.get(many)
    if told is None and one in message:
        told = [message[one]]
    if told is None and is_optional:
        return frozenset()
    texts = told if isinstance(told, list) else []
    if 0 < len(texts) <= SUBSCRIPTIONS_MAX and all(_is_name(text) for text in texts):
        return frozenset(texts)
    raise ValueError(
        f"{many}: expected 1 to {SUBSCRIPTIONS_MAX} texts of 1 to {SYMBOL_MAX} letters"
    )


def _symbol(message: Message) -> str:
    symbol = message.get("symbol")
    if not _is_name(symbol):
        raise ValueError(f"symbol: expected a text of 1 to {SYMBOL_MAX} letters")
    return str(symbol)


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= SYMBOL_MAX


def _toplist(message: Message) -> str:
    name = message.get("toplist_id") or message.get("symbol")
    if not _is_name(name):
        raise ValueError("expected `toplist_id`")
    return str(name)
