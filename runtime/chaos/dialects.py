"""How vendors of websockets say prints, live and when they are asked again. Sources: those of `runtime.providers`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

import msgpack

from runtime.chaos.tape import Print, Tape

NS_MS = 1_000_000
EVERYTHING = "*"
PAGE_ROWS = 10_000

Answer = tuple[int, Any]  # status and body


@dataclass
class Client:
    """What one connection asked for."""

    symbols: set[str] = field(default_factory=set)
    is_known: bool = False  # its key is right
    codec: str = "json"
    is_started: bool = False  # of a session that is started by a message
    asked: set[str] = field(default_factory=set)  # before that
    start_ns: int = 0  # from which on it wants what was printed; 0: from now on
    caught_up: Callable[[], Any] | None = None  # what is said once it has that
    alive_s: float = math.inf  # of nothing to say, after which `alive` is said
    alive: Callable[[], Any] | None = None

    def wants(self) -> set[str] | None:
        """The symbols to send; None: all."""
        return None if EVERYTHING in self.symbols else self.symbols


class Dialect(Protocol):
    """One vendor."""

    symbols: tuple[str, ...]  # that its market has
    keys: tuple[str, ...]  # variables that a reader needs, whatever they hold
    is_patient: bool  # who reads too slowly is warned, not cut off

    def url(self, address: str) -> str:
        """What `jetscan ingest` is given to read from a server at HOST:PORT."""
        ...

    def greeting(self) -> list[Any]:
        """What is said before anything was heard."""
        ...

    def hear(self, message: Any, client: Client, is_refusing: bool) -> list[Any]:
        """What a message is answered with."""
        ...

    def error(self, code: str) -> Any:
        """An error of the vendor's."""
        ...

    def slow(self) -> list[Any]:
        """What is said to who reads too slowly."""
        ...

    def frame(self, prints: Iterable[Print]) -> list[Any]:
        """Messages, of which each is sent alone."""
        ...


@runtime_checkable
class Again(Protocol):
    """A vendor that is asked over REST what was printed."""

    def again(self, path: str, asked: Mapping[str, str], tape: Tape) -> Answer:
        """The answer to a request of what was printed."""
        ...


def encoded(message: Any, codec: str) -> str | bytes:
    """A message as it is sent; times are texts in JSON."""
    return (
        bytes(msgpack.packb(message)) if codec == "msgpack" else json.dumps(message, default=_text)
    )


def _text(stamp: Any) -> str:
    if not isinstance(stamp, msgpack.Timestamp):
        raise TypeError(f"expected a time, found {type(stamp).__name__}")
    return rfc3339(stamp.to_unix_nano())


def rfc3339(ts_ns: int) -> str:
    """Nine digits of a second, as Alpaca and Coinbase write times."""
    seconds, nanos = divmod(ts_ns, 10**9)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{nanos:09d}Z"


def _ns(text: str) -> int:
    whole, _, digits = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 10**9 + int(digits.ljust(9, "0")[:9] or 0)


class Alpaca:
    """Version 2 of the stock stream, JSON or msgpack as the client's header says."""

    symbols: tuple[str, ...] = ("AAPL", "MSFT", "NVDA", "TSLA")
    keys: tuple[str, ...] = ("ALPACA_KEY_ID", "ALPACA_SECRET_KEY")
    is_patient: bool = False

    def url(self, address: str) -> str:
        return f"alpaca://iex?symbols=*&channels=trades&host=ws://{address}&rest=http://{address}"

    def greeting(self) -> list[Any]:
        return [[{"T": "success", "msg": "connected"}]]

    def hear(self, message: Any, client: Client, is_refusing: bool) -> list[Any]:
        action = message.get("action")
        if action == "auth":
            client.is_known = not is_refusing
            told = {"T": "success", "msg": "authenticated"}
            return [[self._error("402") if is_refusing else told]]
        if not client.is_known:
            return [[self._error("401")]]
        if action in ("subscribe", "unsubscribe"):
            named = set(message.get("trades", ()))
            client.symbols = (
                client.symbols | named if action == "subscribe" else client.symbols - named
            )
            return [[{"T": "subscription", "trades": sorted(client.symbols), "quotes": []}]]
        return [[self._error("400")]]

    def _error(self, code: str) -> dict[str, Any]:
        return {"T": "error", "code": int(code), "msg": "as the script says"}

    def error(self, code: str) -> Any:
        return [self._error(code)]

    def slow(self) -> list[Any]:
        return [self.error("407")]

    def frame(self, prints: Iterable[Print]) -> list[Any]:
        return [
            [
                {"T": "t", "S": one.symbol, **self._told(one)}
                | {"t": msgpack.Timestamp(*divmod(one.ts_ns, 10**9))}
                for one in prints
            ]
        ]

    def _told(self, one: Print) -> dict[str, Any]:
        told = {"i": one.number, "x": "V", "p": one.price, "s": one.size, "c": ["@"], "z": "A"}
        return {**told, "t": rfc3339(one.ts_ns)}

    def again(self, path: str, asked: Mapping[str, str], tape: Tape) -> Answer:
        if path != "/v2/stocks/trades":
            return 404, {"message": "not found"}
        symbols = asked["symbols"].split(",")
        first, last = _ns(asked["start"]), _ns(asked["end"])
        skip = int(asked.get("page_token", "0"))
        found = [one for symbol in symbols for one in tape.of(symbol) if first <= one.ts_ns <= last]
        trades: dict[str, list[Any]] = {}
        for one in found[skip : skip + PAGE_ROWS]:
            trades.setdefault(one.symbol, []).append(self._told(one))
        following = skip + PAGE_ROWS if len(found) > skip + PAGE_ROWS else None
        return 200, {"trades": trades, "next_page_token": str(following) if following else None}


class Massive:
    """The stocks cluster."""

    symbols: tuple[str, ...] = Alpaca.symbols
    keys: tuple[str, ...] = ("MASSIVE_KEY",)
    is_patient: bool = False

    def url(self, address: str) -> str:
        return f"massive://stocks?symbols=*&channels=T&host=ws://{address}&rest=http://{address}"

    def greeting(self) -> list[Any]:
        return [self._status("connected", "Connected Successfully")]

    def _status(self, status: str, message: str) -> list[Any]:
        return [{"ev": "status", "status": status, "message": message}]

    def hear(self, message: Any, client: Client, is_refusing: bool) -> list[Any]:
        action, asked = message.get("action"), message.get("params", "")
        if action == "auth":
            client.is_known = not is_refusing
            if is_refusing:
                return [self._status("auth_failed", "authentication failed")]
            return [self._status("auth_success", "authenticated")]
        if not client.is_known or action not in ("subscribe", "unsubscribe"):
            return [self._status("error", "not authorized")]
        topics = [one.strip() for one in asked.split(",")]
        named = {one.partition(".")[2] for one in topics}
        is_adding = action == "subscribe"
        client.symbols = client.symbols | named if is_adding else client.symbols - named
        verb = "subscribed to" if is_adding else "unsubscribed to"
        return [self._status("success", f"{verb}: {one}") for one in topics]

    def error(self, code: str) -> Any:
        return self._status(code, "as the script says")

    def slow(self) -> list[Any]:
        return [self.error("slow_consumer")]

    def frame(self, prints: Iterable[Print]) -> list[Any]:
        return [
            [
                {"ev": "T", "sym": one.symbol, "x": 4, "i": str(one.number), "z": 3, "c": [0]}
                | {"p": one.price, "s": one.size, "t": one.ts_ns // NS_MS, "q": one.number}
                for one in prints
            ]
        ]

    def again(self, path: str, asked: Mapping[str, str], tape: Tape) -> Answer:
        if not path.startswith("/v3/trades/"):
            return 404, {"error": "not found"}
        symbol = path.removeprefix("/v3/trades/")
        first, end = int(asked["timestamp.gte"]), int(asked["timestamp.lt"])
        found = [one for one in tape.of(symbol) if first <= one.ts_ns < end]
        results = [
            {"id": str(one.number), "price": one.price, "size": one.size, "exchange": 4}
            | {"sip_timestamp": one.ts_ns, "tape": 3, "sequence_number": one.number}
            | {"conditions": [0]}
            for one in found
        ]
        return 200, {"status": "OK", "results": results}


class Binance:
    """Combined streams of trades; each trade is a message."""

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    keys: tuple[str, ...] = ()
    is_patient: bool = False

    def url(self, address: str) -> str:
        return f"binance://btcusdt,ethusdt?host=ws://{address}&rest=http://{address}"

    def greeting(self) -> list[Any]:
        return []

    def hear(self, message: Any, client: Client, is_refusing: bool) -> list[Any]:
        del is_refusing  # it has no keys
        named = {one.partition("@")[0].upper() for one in message.get("params", ())}
        is_adding = message.get("method") == "SUBSCRIBE"
        client.symbols = client.symbols | named if is_adding else client.symbols - named
        return [{"result": None, "id": message.get("id")}]

    def error(self, code: str) -> Any:
        return {"error": {"code": int(code), "msg": "as the script says"}, "id": None}

    def slow(self) -> list[Any]:
        return []

    def frame(self, prints: Iterable[Print]) -> list[Any]:
        return [
            {
                "stream": f"{one.symbol.lower()}@trade",
                "data": {"e": "trade", "s": one.symbol, "t": one.number, "p": f"{one.price:.2f}"}
                | {"q": str(one.size), "T": one.ts_ns // NS_MS, "E": one.ts_ns // NS_MS},
            }
            for one in prints
        ]

    def again(self, path: str, asked: Mapping[str, str], tape: Tape) -> Answer:
        if path != "/api/v3/historicalTrades":
            return 404, {"code": -1, "msg": "not found"}
        first, count = int(asked["fromId"]), min(int(asked["limit"]), 1_000)
        found = [one for one in tape.of(asked["symbol"]) if first <= one.number < first + count]
        return 200, [
            {"id": one.number, "price": f"{one.price:.2f}", "qty": str(one.size)}
            | {"time": one.ts_ns // NS_MS}
            for one in found
        ]


class Coinbase:
    """Matches of the exchange feed."""

    symbols: tuple[str, ...] = ("BTC-USD", "ETH-USD")
    keys: tuple[str, ...] = ()
    is_patient: bool = False

    def url(self, address: str) -> str:
        return f"coinbase://BTC-USD,ETH-USD?host=ws://{address}&rest=http://{address}"

    def greeting(self) -> list[Any]:
        return []

    def hear(self, message: Any, client: Client, is_refusing: bool) -> list[Any]:
        del is_refusing  # it has no keys
        named = set(message.get("product_ids", ()))
        is_adding = message.get("type") == "subscribe"
        client.symbols = client.symbols | named if is_adding else client.symbols - named
        channel = {"name": "matches", "product_ids": sorted(client.symbols)}
        return [{"type": "subscriptions", "channels": [channel]}]

    def error(self, code: str) -> Any:
        return {"type": "error", "message": code, "reason": "as the script says"}

    def slow(self) -> list[Any]:
        return []

    def frame(self, prints: Iterable[Print]) -> list[Any]:
        return [{"type": "match", "product_id": one.symbol, **self._told(one)} for one in prints]

    def _told(self, one: Print) -> dict[str, Any]:
        told = {"trade_id": one.number, "price": f"{one.price:.2f}", "size": str(one.size)}
        return {**told, "time": rfc3339(one.ts_ns), "side": "buy"}

    def again(self, path: str, asked: Mapping[str, str], tape: Tape) -> Answer:
        parts = path.strip("/").split("/")
        if len(parts) != 3 or parts[0] != "products" or parts[2] != "trades":
            return 404, {"message": "not found"}
        end, count = int(asked.get("after", 1 << 62)), min(int(asked.get("limit", 1_000)), 1_000)
        found = [one for one in tape.of(parts[1]) if one.number < end]
        return 200, [self._told(one) for one in found[::-1][:count]]
