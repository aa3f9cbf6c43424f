"""Public trades around the clock, without a key: binance://btcusdt,ethusdt and coinbase://BTC-USD,ETH-USD.

Both number every trade of a symbol without holes, so that what was missed is known exactly.
Source: Binance, web socket streams; Coinbase Exchange, websocket overview.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

from runtime.providers import ProviderError, crypto_rest, take_parameters
from runtime.providers.crypto_messages import BinanceParser, CoinbaseParser
from runtime.providers.live import Live, Talk
from runtime.providers.messages import Control, Parsed
from runtime.providers.parameters import host_of, symbols_of
from runtime.providers.rest import rest_of
from runtime.providers.universe import Universe

BINANCE = "wss://data-stream.binance.vision"
COINBASE = "wss://ws-feed.exchange.coinbase.com"
STREAMS_MAX = 1024  # of one connection
# No share of the United States is spelled like these.
BINANCE_PAIRS = r"[A-Z0-9]{6,20}|[A-Z0-9]{1,5}(?:USDT|USDC|BTC|ETH|BNB|EUR)"
COINBASE_PAIRS = r"[A-Z0-9]{1,10}-[A-Z0-9]{1,10}"
MUTE_S = 30.0


class Binance:
    """A session with streams of trades, and of the best bid and ask where they are wanted."""

    name = "binance"
    keeps_hours = False
    is_numbered = True
    symbols_a_request = 200
    spacing_s = 0.25  # five messages a second are allowed
    answers = True

    def __init__(self, symbols: list[str], host: str, rest: str, with_quotes: bool) -> None:
        self._kinds = ("trade", "bookTicker") if with_quotes else ("trade",)
        most = STREAMS_MAX // len(self._kinds)
        if len(symbols) > most:
            raise ProviderError(f"binance: at most {most} symbols, found {len(symbols)}")
        self.universe = Universe("binance", symbols, BINANCE_PAIRS, most=most, spelled=str.upper)
        self.url = f"{host}/stream"
        self.headers: dict[str, str] = {}
        self._rest = rest
        self._numbers = count(1)
        self._parser = BinanceParser()

    def hello(self, talk: Talk) -> None:
        """Nothing to say."""

    def request(self, is_adding: bool, spelled: list[str]) -> bytes | str:
        """The streams of some symbols."""
        method = "SUBSCRIBE" if is_adding else "UNSUBSCRIBE"
        streams = [f"{symbol.lower()}@{kind}" for symbol in spelled for kind in self._kinds]
        return json.dumps({"method": method, "params": streams, "id": next(self._numbers)})

    def acknowledged(self, control: Control) -> None:
        """An answer names nothing: it is to the request."""
        del control

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
    symbols_a_request = 100
    spacing_s = 0.0
    answers = True

    def __init__(self, symbols: list[str], host: str, rest: str) -> None:
        self.url, self._rest = host, rest
        self.headers: dict[str, str] = {}
        self.universe = Universe("coinbase", symbols, COINBASE_PAIRS, spelled=str.upper)
        self._parser = CoinbaseParser()

    def hello(self, talk: Talk) -> None:
        """Nothing to say; the first request comes within the five seconds that are allowed."""

    def request(self, is_adding: bool, spelled: list[str]) -> bytes | str:
        """Matches and heartbeats of some products."""
        verb = "subscribe" if is_adding else "unsubscribe"
        products, channels = [one.upper() for one in spelled], ["matches", "heartbeat"]
        return json.dumps({"type": verb, "product_ids": products, "channels": channels})

    def acknowledged(self, control: Control) -> list[str]:
        """An answer tells all that is subscribed."""
        return control.channels.get("matches", [])

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
