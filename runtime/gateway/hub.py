"""What clients follow, and who follows it: a ring of alerts, the newest of everything else.

A client is a place in the ring and a set of subscriptions. Alerts it has not taken stay in the ring,
so nothing is queued per client and nothing is lost silently: who falls behind the ring is told the
numbers it misses. Toplists and bars have only a newest version; a slow client skips versions.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from runtime import telemetry
from runtime.frames import Frame
from runtime.gateway import fanout
from runtime.gateway.rankings import Ranking, follow
from runtime.shapes import Listed, bar_shapes, encoded

RING_MAX = 100_000  # alerts held for resuming: about 60 MB
STUCK_S = 15.0  # a client whose buffer does not empty for this long is cut off
PUMP_S = 0.02
PING_S = 30.0
CATCH_UP = 500  # alerts written to one client before others get their turn
SUBSCRIPTIONS_MAX = 2_000


@dataclass(slots=True)
class Held:
    """One alert in the ring."""

    alert: dict[str, Any]
    frame: bytes
    payload_at: int  # where the JSON begins in the frame
    heard_at: float


@dataclass(eq=False)
class Client:
    """One WebSocket connection."""

    user: str
    transport: Any
    send: Callable[[str], Awaitable[None]]
    cursor: int
    number: int = field(default_factory=itertools.count(1).__next__)
    symbols: set[str] = field(default_factory=set)
    bars: set[str] = field(default_factory=set)
    lists: dict[str, int] = field(default_factory=dict)  # list -> version sent
    deltas: set[str] = field(default_factory=set)  # lists of which it takes what changed
    bars_sent: dict[str, int] = field(default_factory=dict)
    late_until: int = 0  # alerts up to this number are marked late
    full_since: float = 0.0
    waiting: list[bytes] = field(default_factory=list)  # for a client without a transport
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_free(self) -> bool:
        """Whether what was written before has left."""
        if self.transport is None:
            return not self.waiting
        return not self.transport.is_closing() and self.transport.get_write_buffer_size() == 0

    def write(self, frame: bytes, payload: bytes) -> None:
        """Write at once; a connection without a transport is written by its own task."""
        telemetry.SENT.inc()
        if self.transport is not None:
            self.transport.write(frame)
        else:
            self.waiting.append(payload)
            self.wake.set()

    def tell(self, message: Any) -> None:
        """Write a message for this client alone."""
        payload = encoded(message)
        self.write(fanout.text_frame(payload), payload)

    def wants(self, symbol: str) -> bool:
        """No symbol subscribed means every alert."""
        return not self.symbols or symbol in self.symbols


class Hub:
    """All clients and all they can follow."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.toplists: dict[str, Ranking] = {}
        self._bars: dict[str, tuple[Frame, int]] = {}  # made JSON only for who asks
        self.newest_ns = 0
        self.connections = 0
        self.conflated = 0
        self.delivered = 0
        self._ring: OrderedDict[int, Held] = OrderedDict()
        self._bar_versions: dict[str, int] = {}

    # -- what is followed

    @property
    def newest(self) -> int:
        """The number of the newest alert."""
        return next(reversed(self._ring)) if self._ring else 0

    @property
    def oldest(self) -> int:
        """The number of the oldest alert held."""
        return next(iter(self._ring)) if self._ring else 1

    def alerts(self, most: int | None = None) -> list[dict[str, Any]]:
        """The alerts held, newest first; at most so many."""
        return [held.alert for held in itertools.islice(reversed(self._ring.values()), most)]

    def add_alert(self, alert: dict[str, Any]) -> None:
        """Hold an alert and write it to every client that has taken all before it."""
        number = alert["seq"]
        if number <= self.newest:
            return
        payload = encoded({"type": "alert", "data": alert})
        frame = fanout.text_frame(payload)
        held = Held(alert, frame, len(frame) - len(payload), time.monotonic())
        self._ring[number] = held
        if len(self._ring) > RING_MAX:
            self._ring.popitem(last=False)
        self.newest_ns = max(self.newest_ns, alert["ts_ns"])
        for client in self.clients:
            if client.cursor == number - 1 and client.is_free:
                client.cursor = number
                self._deliver(client, held)

    def _deliver(self, client: Client, held: Held) -> None:
        if not client.wants(held.alert["symbol"]):
            return
        if held.alert["seq"] <= client.late_until:
            client.tell({"type": "alert", "late": True, "data": held.alert})
        else:
            payload = b"" if client.transport is not None else held.frame[held.payload_at :]
            client.write(held.frame, payload)
            telemetry.DELIVERY_S.observe(time.monotonic() - held.heard_at)
        self.delivered += 1
        telemetry.ALERTS_DELIVERED.inc()

    def set_toplist(self, name: str, listed: Listed) -> None:
        """The newest ranking of a list."""
        ranking = follow(name, self.toplists.get(name), listed)
        if ranking is None:
            return
        self.newest_ns = max(self.newest_ns, listed.ts_ns)
        self.toplists[name] = ranking
        for client in self.clients:
            if name in client.lists:
                self._offer_list(client, name)

    def _offer_list(self, client: Client, name: str) -> None:
        ranking = self.toplists.get(name)
        if ranking is None or client.lists[name] == ranking.version:
            return
        if client.is_free:
            client.write(*ranking.for_client(client.lists[name], name in client.deltas))
            client.lists[name] = ranking.version
        else:
            self.conflated += 1
            telemetry.CONFLATED.inc()

    def forget_lists(self, owner_of: Callable[[str], str | None]) -> None:
        """What was ranked for one user is not shown to another who gave a list the same id.

        owner_of   list -> its user; None = no list of a user
        """
        for name, ranking in list(self.toplists.items()):
            user = owner_of(name)
            if user is not None and not ranking.is_of(user):
                del self.toplists[name]
        for client in self.clients:
            for name in [one for one in client.lists if owner_of(one) not in (None, client.user)]:
                self.leave_list(client, name)

    @property
    def symbols(self) -> list[str]:
        """Every symbol that has a running bar."""
        return list(self._bars)

    def bar(self, symbol: str) -> dict[str, Any] | None:
        """The running bar of a symbol."""
        held = self._bars.get(symbol)
        return bar_shapes(held[0][held[1] : held[1] + 1])[0] if held else None

    def last(self, symbol: str) -> float | None:
        """The price of a symbol's running bar."""
        held = self._bars.get(symbol)
        return float(held[0]["close"][held[1]]) if held else None

    def set_bars(self, frame: Frame) -> None:
        """The newest running bars of some symbols."""
        self.newest_ns = max(self.newest_ns, int(frame["ts_ns"].max()))
        symbols = frame["symbol"].tolist()
        self._bars.update((symbol, (frame, row)) for row, symbol in enumerate(symbols))
        followed = {symbol for client in self.clients for symbol in client.bars}
        for symbol in followed.intersection(symbols):
            self._bar_versions[symbol] = self._bar_versions.get(symbol, 0) + 1
            for client in self.clients:
                if symbol in client.bars:
                    self._offer_bar(client, symbol)

    def _offer_bar(self, client: Client, symbol: str) -> None:
        version = self._bar_versions.get(symbol, 0)
        bar = self.bar(symbol)
        if bar is not None and client.bars_sent.get(symbol) != version and client.is_free:
            client.bars_sent[symbol] = version
            client.tell({"type": "bar", "data": bar})

    # -- who follows

    def join(self, client: Client) -> None:
        """A client that hears every alert from now on."""
        self.clients.add(client)
        self.connections += 1
        telemetry.CONNECTIONS.set(len(self.clients))

    def leave(self, client: Client) -> None:
        """Forget a client."""
        self.clients.discard(client)
        client.wake.set()
        telemetry.CONNECTIONS.set(len(self.clients))

    def resume(self, client: Client, after: int) -> None:
        """Send what came after alert `after`, in order, once, marked late; then live."""
        client.late_until = self.newest
        if after < self.oldest - 1:
            client.tell({"type": "gap", "from": after + 1, "to": self.oldest - 1})
            after = self.oldest - 1
        client.cursor = min(after, self.newest)
        self._catch_up(client)

    def follow_list(self, client: Client, name: str, is_delta: bool) -> None:
        """Send a list's newest ranking, and every later one, or what changes in it."""
        client.lists[name] = 0
        (client.deltas.add if is_delta else client.deltas.discard)(name)
        self._offer_list(client, name)

    def leave_list(self, client: Client, name: str) -> None:
        """Send no more of a list."""
        client.lists.pop(name, None)
        client.deltas.discard(name)

    def follow_bars(self, client: Client, symbols: list[str]) -> None:
        """Send the running bars of symbols, and every later version."""
        client.bars.update(symbols)
        for symbol in symbols:
            self._offer_bar(client, symbol)

    # -- pumping

    async def pump(self) -> None:
        """Bring clients up to date that could not take everything at once, until cancelled."""
        pinged_at = time.monotonic()
        while True:
            await asyncio.sleep(PUMP_S)
            now = time.monotonic()
            for client in list(self.clients):
                self._pump_one(client, now)
            if now - pinged_at > PING_S:
                pinged_at = now
                for client in self.clients:
                    if client.transport is not None and client.is_free:
                        client.transport.write(fanout.ping_frame())

    def _pump_one(self, client: Client, now: float) -> None:
        if not client.is_free:
            client.full_since = client.full_since or now
            if now - client.full_since > STUCK_S and client.transport is not None:
                telemetry.DROPPED_CLIENTS.inc()
                client.transport.abort()
            return
        client.full_since = 0.0
        if client.cursor < self.newest:
            self._catch_up(client)
        for name, version in client.lists.items():
            ranking = self.toplists.get(name)
            if ranking is not None and version != ranking.version:
                self._offer_list(client, name)
        for symbol in client.bars:
            if client.bars_sent.get(symbol) != self._bar_versions.get(symbol, 0):
                self._offer_bar(client, symbol)

    def _catch_up(self, client: Client) -> None:
        if client.cursor < self.oldest - 1:
            client.tell({"type": "gap", "from": client.cursor + 1, "to": self.oldest - 1})
            client.cursor = self.oldest - 1
        last = min(client.cursor + CATCH_UP, self.newest)
        for number in range(client.cursor + 1, last + 1):
            held = self._ring.get(number)
            if held is not None:
                self._deliver(client, held)
        client.cursor = last

    def say_goodbye(self) -> None:
        """Tell every client that the service restarts."""
        for client in list(self.clients):
            if client.transport is not None:
                client.transport.write(fanout.close_frame(1012, "restarting"))
                client.transport.close()
            self.leave(client)
