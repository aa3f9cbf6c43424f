"""Massive: massive://stocks?symbols=AAPL,MSFT or massive://delayed?symbols=*; the key in MASSIVE_KEY.

One connection a key: the older one is closed when a second comes. Source: Massive, websocket quickstart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from runtime.providers import Batch, ProviderError, massive_rest, take_parameters
from runtime.providers.asking import in_every
from runtime.providers.live import Live, Talk
from runtime.providers.massive_messages import MassiveParser
from runtime.providers.messages import Control, Parsed
from runtime.providers.parameters import host_of, odd_lots_of, secret, symbols_of
from runtime.providers.rest import rest_of
from runtime.providers.universe import SHARES, Universe

HOSTS = {
    "stocks": "wss://socket.massive.com/stocks",
    "delayed": "wss://delayed.massive.com/stocks",
    "crypto": "wss://socket.massive.com/crypto",
}
STOCKS = ("stocks", "delayed")
CHANNELS = {"stocks": ("T", "Q", "LULD"), "delayed": ("T", "Q", "LULD"), "crypto": ("XT", "XQ")}
PAIRS = r"[A-Z0-9]{1,10}-[A-Z0-9]{1,10}"
MUTE_S = 60.0


class Massive:
    """A session with one cluster."""

    name = "massive"
    is_numbered = False
    symbols_a_request = 150  # each in up to three channels
    spacing_s = 0.0
    answers = True

    def __init__(
        self,
        cluster: str,
        universe: Universe,
        channels: list[str],
        url: str,
        odd_lots: str,
        rest: str,
    ) -> None:
        self.url = url
        self.headers: dict[str, str] = {}
        self.universe, self._channels = universe, channels
        self._subscribed: dict[str, set[str]] = {one: set() for one in channels}
        self._odd_lots, self._rest = odd_lots, rest
        self._parser = MassiveParser(odd_lots)
        self.keeps_hours = cluster in STOCKS
        self.again = self._missed if cluster in STOCKS and "T" in channels else None

    def _missed(self, from_ns: int, to_ns: int) -> Iterator[Batch]:
        """Trades of the symbols followed, between two times; read beside the session."""
        symbols = self.universe.listed(self._parser.table.symbols)
        parser = MassiveParser(self._odd_lots)
        key = secret("MASSIVE_KEY")
        return massive_rest.missed(parser, symbols, from_ns, to_ns, key, self._rest)

    def parse(self, data: bytes, received_ns: int) -> Parsed:
        """What a frame holds."""
        return self._parser.parse(data, received_ns)

    def hello(self, talk: Talk) -> None:
        """Authenticate."""
        talk.wait_for("connected")
        talk.say(json.dumps({"action": "auth", "params": secret("MASSIVE_KEY")}))
        talk.wait_for("authenticated")
        self._subscribed = {one: set() for one in self._channels}

    def request(self, is_adding: bool, spelled: list[str]) -> bytes | str:
        """Every channel of some symbols."""
        action = "subscribe" if is_adding else "unsubscribe"
        topics = [f"{channel}.{one}" for channel in self._channels for one in spelled]
        return json.dumps({"action": action, "params": ",".join(topics)})

    def acknowledged(self, control: Control) -> set[str]:
        """An answer names some channels of some symbols; what is held already is not answered."""
        verb, _, topics = control.text.partition(":")
        for topic in topics.split(","):
            channel, _, symbol = topic.strip().partition(".")
            if channel not in self._subscribed:
                continue
            known = self._subscribed[channel]
            known.discard(symbol) if verb.startswith("unsub") else known.add(symbol)
        return in_every(self._subscribed.values())


def open_massive(cluster: str, given: dict[str, str]) -> Live:
    """massive://CLUSTER?symbols=A,B&channels=T,Q,LULD&odd_lots=volume&host=wss://...&rest=https://..."""
    cluster = cluster.strip("/")
    if cluster not in HOSTS:
        raise ProviderError(f"massive: expected one of {', '.join(HOSTS)}, found {cluster!r}")
    known = {
        "symbols": symbols_of,
        "channels": symbols_of,
        "odd_lots": odd_lots_of,
        "host": host_of,
        "rest": rest_of,
    }
    taken = take_parameters(given, known)
    if "symbols" not in taken:
        raise ProviderError("massive: expected ?symbols=AAPL,MSFT or ?symbols=*")
    channels = taken.get("channels") or list(CHANNELS[cluster])
    if not set(channels) <= set(CHANNELS[cluster]):
        raise ProviderError(f"massive: channels: expected some of {', '.join(CHANNELS[cluster])}")
    secret("MASSIVE_KEY")
    pattern = rf"\*|{SHARES if cluster in STOCKS else PAIRS}"
    vendor = Massive(
        cluster,
        Universe(f"massive://{cluster}", taken["symbols"], pattern),
        channels,
        taken.get("host", HOSTS[cluster]),
        taken.get("odd_lots", "volume"),
        taken.get("rest", massive_rest.HOST),
    )
    return Live(vendor, MUTE_S)
