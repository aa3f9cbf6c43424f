"""The WebSocket's messages: what a client may say, and what it is answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from runtime.gateway.hub import SUBSCRIPTIONS_MAX, Client, Hub

MESSAGES_PER_S = 50
BURST = 100
SYMBOL_MAX = 64


class TooFast(Exception):
    """The client sends more than it may."""


class Conversation:
    """One client's messages."""

    def __init__(self, hub: Hub, client: Client, may_follow: Callable[[str, str], bool]) -> None:
        self._hub = hub
        self._may_follow = may_follow  # whether a user may follow a list
        self._client = client
        self._allowance = float(BURST)
        self._asked_at = time.monotonic()
        self._verbs: dict[str, Callable[[dict[str, Any]], None]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "subscribe_toplist": self._subscribe_toplist,
            "unsubscribe_toplist": self._unsubscribe_toplist,
            "resume": self._resume,
            "ping": lambda _: self._client.tell({"type": "pong"}),
        }

    def hear(self, text: Any) -> None:
        """Answer one message; raises TooFast."""
        self._count()
        try:
            message = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            self._error("invalid_message", "expected a JSON object")
            return
        if not isinstance(message, dict):
            self._error(
                "invalid_message", f"expected a JSON object, found {type(message).__name__}"
            )
            return
        verb = self._verbs.get(str(message.get("type")))
        if verb is None:
            known = ", ".join(self._verbs)
            self._error("unknown_message_type", f"type: expected one of {known}")
            return
        try:
            verb(message)
        except ValueError as error:
            self._error("invalid_request", str(error))

    def _count(self) -> None:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._asked_at) * MESSAGES_PER_S)
        self._asked_at = now
        if self._allowance < 1:
            raise TooFast
        self._allowance -= 1

    def _error(self, code: str, text: str) -> None:
        self._client.tell({"type": "error", "code": code, "message": text})

    def _success(self, action: str, data: dict[str, Any]) -> None:
        self._client.tell({"type": "success", "data": {"action": action, "data": data}})

    def _subscribe(self, message: dict[str, Any]) -> None:
        symbols, shown = _symbols(message)
        if len(self._client.symbols | set(symbols)) > SUBSCRIPTIONS_MAX:
            raise ValueError(f"at most {SUBSCRIPTIONS_MAX} symbols per connection")
        self._client.symbols.update(symbols)
        self._success("subscribed", shown)
        if message.get("bars") is True:
            self._hub.follow_bars(self._client, symbols)

    def _unsubscribe(self, message: dict[str, Any]) -> None:
        symbols, shown = _symbols(message)
        self._client.symbols.difference_update(symbols)
        self._client.bars.difference_update(symbols)
        self._success("unsubscribed", shown)

    def _subscribe_toplist(self, message: dict[str, Any]) -> None:
        name = _toplist(message)
        if name not in self._client.lists and len(self._client.lists) >= SUBSCRIPTIONS_MAX:
            raise ValueError(f"at most {SUBSCRIPTIONS_MAX} toplists per connection")
        is_delta = message.get("deltas", False)
        if not isinstance(is_delta, bool):
            raise ValueError(f"deltas: expected true or false, found {is_delta!r}")
        if not self._may_follow(self._client.user, name):
            raise ValueError(f"toplist_id: {name} is no list of yours")
        self._success("subscribed_toplist", {"toplist_id": name})
        self._hub.follow_list(self._client, name, is_delta)

    def _unsubscribe_toplist(self, message: dict[str, Any]) -> None:
        name = _toplist(message)
        self._hub.leave_list(self._client, name)
        self._success("unsubscribed_toplist", {"toplist_id": name})

    def _resume(self, message: dict[str, Any]) -> None:
        after = message.get("after")
        if isinstance(after, bool) or not isinstance(after, int) or after < 0:
            raise ValueError(
                "after: expected the number of the last alert received, 0 for all held"
            )
        self._success("resumed", {"after": after, "newest": self._hub.newest})
        self._hub.resume(self._client, after)


def _symbols(message: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    symbols = message.get("symbols")
    if isinstance(symbols, list) and symbols and all(_is_symbol(one) for one in symbols):
        return symbols, {"symbols": symbols}
    symbol = message.get("symbol")
    if symbols is None and _is_symbol(symbol):
        return [str(symbol)], {"symbol": symbol}
    raise ValueError(f"expected `symbol` or `symbols`, texts of 1 to {SYMBOL_MAX} letters")


def _is_symbol(symbol: Any) -> bool:
    return isinstance(symbol, str) and 0 < len(symbol) <= SYMBOL_MAX


def _toplist(message: dict[str, Any]) -> str:
    name = message.get("toplist_id") or message.get("symbol")
    if not _is_symbol(name):
        raise ValueError("expected `toplist_id`")
    return str(name)


async def write_waiting(client: Client, is_open: Callable[[], bool]) -> None:
    """Write for a connection that has no transport of its own to write to."""
    while is_open():
        await client.wake.wait()
        client.wake.clear()
        while client.waiting:
            await client.send(client.waiting[0].decode())
            client.waiting.pop(0)
        await asyncio.sleep(0)
