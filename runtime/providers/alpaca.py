"""Alpaca: alpaca://sip?symbols=AAPL,MSFT or alpaca://iex?symbols=*; keys in ALPACA_KEY_ID and ALPACA_SECRET_KEY.

Trades bring corrections and cancels with them. Source: Alpaca, real-time stock data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from runtime import telemetry
from runtime.providers import Batch, ProviderError, take_parameters
from runtime.providers.alpaca_messages import AlpacaParser
from runtime.providers.alpaca_rest import HOST as HOST_AGAIN
from runtime.providers.alpaca_rest import missed
from runtime.providers.asking import in_every
from runtime.providers.live import Live, Talk
from runtime.providers.messages import Control, Parsed
from runtime.providers.parameters import host_of, odd_lots_of, secret, symbols_of
from runtime.providers.rest import rest_of
from runtime.providers.universe import SHARES, Universe

log = telemetry.get_logger(__name__)

HOST = "wss://stream.data.alpaca.markets"
PATHS = {
    "sip": "v2/sip",
    "iex": "v2/iex",
    "delayed_sip": "v2/delayed_sip",
    "test": "v2/test",
    "overnight": "v1beta1/overnight",
    "boats": "v1beta1/boats",
    "crypto": "v1beta3/crypto/us",
}
CHANNELS = ("trades", "quotes", "statuses", "lulds")
SENT_AGAIN = ("sip", "iex")
KEEP_HOURS = ("sip", "iex", "delayed_sip")
OF_CRYPTO = ("trades", "quotes")
PATTERNS = {"crypto": r"[A-Z0-9]{1,10}/[A-Z0-9]{1,10}", "test": rf"FAKEPACA|{SHARES}"}
MUTE_S = 60.0  # the tape of a few symbols may say nothing for long; pings find a dead socket


class Alpaca:
    """A session with one feed."""

    name = "alpaca"
    is_numbered = False
    symbols_a_request = 1000
    spacing_s = 0.0
    answers = True

    def __init__(
        self,
        feed: str,
        universe: Universe,
        channels: list[str],
        host: str,
        odd_lots: str,
        codec: str,
        rest: str = HOST_AGAIN,
    ) -> None:
        self.url = f"{host}/{PATHS[feed]}"
        self.headers = {"Content-Type": "application/msgpack"} if codec == "msgpack" else {}
        self.keeps_hours = feed in KEEP_HOURS
        self.universe, self._channels, self._codec = universe, channels, codec
        self._feed, self._rest, self._odd_lots = feed, rest, odd_lots
        self._parser = AlpacaParser(codec, odd_lots)
        self._lacking: list[str] = []
        # Stocks can be had again; the test feed and crypto cannot, here.
        self.again = self._missed if feed in SENT_AGAIN else None

    def _missed(self, from_ns: int, to_ns: int) -> Iterator[Batch]:
        """Trades of the symbols followed, between two times; read beside the session."""
        symbols = self.universe.listed(self._parser.table.symbols)
        keys = {
            "APCA-API-KEY-ID": secret("ALPACA_KEY_ID"),
            "APCA-API-SECRET-KEY": secret("ALPACA_SECRET_KEY"),
        }
        parser = AlpacaParser("json", self._odd_lots)
        return missed(parser, symbols, self._feed, from_ns, to_ns, keys, self._rest)

    def parse(self, data: bytes, received_ns: int) -> Parsed:
        """What a frame holds."""
        return self._parser.parse(data, received_ns)

    def parse_joined(self, frames: list[bytes], received_ns: int) -> Parsed:
        """What frames hold that came one after the other."""
        return self._parser.parse_joined(frames, received_ns)

    def hello(self, talk: Talk) -> None:
        """Authenticate."""
        talk.wait_for("connected")
        key, key_secret = secret("ALPACA_KEY_ID"), secret("ALPACA_SECRET_KEY")
        talk.say(self._said({"action": "auth", "key": key, "secret": key_secret}))
        talk.wait_for("authenticated")

    def request(self, is_adding: bool, spelled: list[str]) -> bytes | str:
        """Every channel of some symbols."""
        action = "subscribe" if is_adding else "unsubscribe"
        return self._said({"action": action, **dict.fromkeys(self._channels, spelled)})

    def acknowledged(self, control: Control) -> set[str]:
        """An answer tells all that is subscribed, by channel."""
        told = {channel: control.channels.get(channel, []) for channel in self._channels}
        lacking = [channel for channel, symbols in told.items() if not symbols]
        if 0 < len(lacking) < len(told) and lacking != self._lacking:
            self._lacking = lacking
            log.error("channels not subscribed", source=self.name, channels=lacking)
        return in_every(told.values())

    def _said(self, message: dict[str, object]) -> bytes | str:
        return bytes(msgpack.packb(message)) if self._codec == "msgpack" else json.dumps(message)


def open_alpaca(feed: str, given: dict[str, str]) -> Live:
    """alpaca://FEED?symbols=A,B&channels=trades,quotes&codec=msgpack&odd_lots=volume&host=wss://...

    symbols   separated by commas, or *
    channels  trades, quotes, statuses, lulds; all of them by default
    host      another server of the same protocol; rest: another one of what is sent again
    """
    feed = feed.strip("/")
    if feed not in PATHS:
        raise ProviderError(f"alpaca: expected one of {', '.join(PATHS)}, found {feed!r}")
    known: dict[str, Callable[[str], Any]] = {
        "symbols": symbols_of,
        "channels": _channels,
        "codec": _codec,
        "odd_lots": odd_lots_of,
        "host": host_of,
        "rest": rest_of,
    }
    taken = take_parameters(given, known)
    if "symbols" not in taken:
        raise ProviderError("alpaca: expected ?symbols=AAPL,MSFT or ?symbols=*")
    secret("ALPACA_KEY_ID"), secret("ALPACA_SECRET_KEY")
    channels = taken.get("channels") or list(OF_CRYPTO if feed == "crypto" else CHANNELS)
    vendor = Alpaca(
        feed,
        Universe(f"alpaca://{feed}", taken["symbols"], _pattern(feed)),
        channels,
        taken.get("host", HOST),
        taken.get("odd_lots", "volume"),
        taken.get("codec", "msgpack"),
        taken.get("rest", HOST_AGAIN),
    )
    return Live(vendor, MUTE_S)


def _pattern(feed: str) -> str:
    return rf"\*|{PATTERNS.get(feed, SHARES)}"


def _channels(text: str) -> list[str]:
    found = [one.strip() for one in text.split(",")]
    if not found or not set(found) <= set(CHANNELS):
        raise ValueError(f"expected some of {', '.join(CHANNELS)}")
    return found


def _codec(text: str) -> str:
    if text not in ("json", "msgpack"):
        raise ValueError("expected json or msgpack")
    return text
