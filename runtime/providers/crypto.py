"""Public trades around the clock, without a key: binance://btcusdt,ethusdt and coinbase://BTC-USD,ETH-USD.

Both number every trade of a symbol without holes, so that what was missed is known exactly.
Source: Binance, web socket streams; Coinbase Exchange, websocket overview.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from runtime.providers import ProviderError, crypto_rest, take_parameters
from runtime.providers.crypto_messages import BinanceParser, CoinbaseParser
from runtime.providers.live import Live, Talk
from runtime.providers.messages import Parsed
from runtime.providers.parameters import host_of, symbols_of
from runtime.providers.rest import rest_of

BINANCE = "wss://data-stream.binance.vision"
COINBASE = "wss://ws-feed.exchange.coinbase.com"
STREAMS_MAX = 1024  # of one connection
MUTE_S = 30.0


class Binance:
    """A session whose streams stand in its address."""

    name = "binance"
    keeps_hours = False
    is_numbered = True

    def __init__(self, symbols: list[str], host: str, rest: str, with_quotes: bool) -> None:
        kinds = ("trade", "bookTicker") if with_quotes else ("trade",)
        streams = [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]
        if len(streams) > STREAMS_MAX:
            raise ProviderError(f"binance: at most {STREAMS_MAX} streams, found {len(streams)}")
        self.url = f"{host}/stream?streams={'/'.join(streams)}"
        self.headers: dict[str, str] = {}
        self._rest = rest
        self._parser = BinanceParser()

    def hello(self, talk: Talk) -> None:
        """Nothing to say."""

    def missed(self, symbol: str, after: int, until: int) -> Iterator[Parsed]:
        """Trades by their numbers; see `runtime.providers.live.ByNumber`."""
        return crypto_rest.binance_missed(symbol, after, until, self._rest)

    def parse(self, data: bytes, received_ns: int) -> Parsed:
        """What a frame holds."""
        return self._parser.parse(data, received_ns)


class Coinbase:
    """A session with matches and heartbeats."""

    name = "coinbase"
    keeps_hours = False
    is_numbered = True

    def __init__(self, symbols: list[str], host: str, rest: str) -> None:
        self.url, self._rest = host, rest
        self.headers: dict[str, str] = {}
        self._symbols = [symbol.upper() for symbol in symbols]
        self._parser = CoinbaseParser()

    def hello(self, talk: Talk) -> None:
        """Subscribe within the five seconds that are allowed."""
        channels = ["matches", "heartbeat"]
        talk.say(
            json.dumps({"type": "subscribe", "product_ids": self._symbols, "channels": channels})
        )
        talk.wait_for("subscribed")

    def missed(self, symbol: str, after: int, until: int) -> Iterator[Parsed]:
        """Trades by their numbers; see `runtime.providers.live.ByNumber`."""
        return crypto_rest.coinbase_missed(symbol, after, until, self._rest)

    def parse(self, data: bytes, received_ns: int) -> Parsed:
        """What a frame holds."""
        return self._parser.parse(data, received_ns)


def open_binance(symbols: str, given: dict[str, str]) -> Live:
    """binance://btcusdt,ethusdt?quotes=yes&host=wss://...&rest=https://..."""
    taken = take_parameters(given, {"quotes": _yes, "host": host_of, "rest": rest_of})
    host, rest = taken.get("host", BINANCE), taken.get("rest", crypto_rest.BINANCE)
    return Live(Binance(_named(symbols), host, rest, taken.get("quotes", False)), MUTE_S)


def open_coinbase(symbols: str, given: dict[str, str]) -> Live:
    """coinbase://BTC-USD,ETH-USD?host=wss://...&rest=https://..."""
    taken = take_parameters(given, {"host": host_of, "rest": rest_of})
    host, rest = taken.get("host", COINBASE), taken.get("rest", crypto_rest.COINBASE)
    return Live(Coinbase(_named(symbols), host, rest), MUTE_S)


def _named(symbols: str) -> list[str]:
    try:
        return symbols_of(symbols.strip("/"))
    except ValueError as error:
        raise ProviderError(f"{error}, such as binance://btcusdt or coinbase://BTC-USD") from error


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("expected yes or no")
    return text == "yes"
