"""What clients follow, and who follows it: a ring of alerts, the newest of everything else.

A client is a place in the ring and a set of topics. Alerts it has not taken stay in the ring, so nothing
is queued per client and nothing is lost silently: who falls behind the ring is told the numbers it
misses. Topics have only a newest version; a slow client skips versions.

What is new is spread by one task, in parts, so that a thousand clients do not hold up a request. Who
cannot take it is behind, and only those who are behind are looked at again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from runtime import telemetry, tracing
from runtime.frames import Frame
from runtime.gateway.client import Client
from runtime.gateway.rankings import Ranking, follow
from runtime.gateway.ring import Ring
from runtime.gateway.topics import ListTopic, Topic
from runtime.gateway.updates import Update
from runtime.shapes import Listed, bar_shapes

STUCK_S = 15.0  # a client whose buffer does not empty for this long is cut off
HOLD_S = (
    0.5  # a new client's alerts wait so long for its `resume`, or they would come before older ones
)
LOOK_S = 0.02  # who is behind is looked at again
PART = 200  # clients written to before the event loop turns: 2 ms
CATCH_UP = 100  # alerts written to one client at once: what a slow line takes in a few seconds
TRACED_MAX = 100  # alerts of a storm whose writing is traced
LIST, BAR = "list:", "bar:"

Item = TypeVar("Item")


class Hub:
    """All clients and all they can follow."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.toplists: dict[str, Ranking] = {}
        self.topics: dict[str, Topic] = {}  # those that anybody follows
        self.newest_ns = 0
        self.connections = self.conflated = self.delivered = 0
        self._ring = Ring()
        self._bars: dict[str, tuple[Frame, int]] = {}  # made JSON only for who asks
        self._behind: set[Client] = set()
        self._news: dict[str, Topic] = {}
        self._has_alerts = False
        self._traced: list[tuple[str, int, int]] = []  # spans of alerts, when heard, their numbers
        self._wake = asyncio.Event()
        self._fell_behind = asyncio.Event()

    # -- alerts

    @property
    def newest(self) -> int:
        """The number of the newest alert."""
        return self._ring.newest

    @property
    def oldest(self) -> int:
        """The number of the oldest alert held."""
        return self._ring.oldest

    def alerts(self, most: int | None = None) -> list[dict[str, Any]]:
        """The alerts held, newest first; at most so many."""
        return list(islice(self._ring.newest_first(), most))

    def add_alert(self, alert: dict[str, Any], trace: str = "") -> None:
        """Hold an alert, and have it written to whoever wants it; `trace`: the span it comes from."""
        if self._ring.add(alert):
            if tracing.is_recorded(trace) and len(self._traced) < TRACED_MAX:
                self._traced.append((trace, time.time_ns(), alert["seq"]))
            self.newest_ns = max(self.newest_ns, alert["ts_ns"])
            self._has_alerts = True
            self._wake.set()

    def resume(self, client: Client, after: int) -> None:
        """Send what came after alert `after`, in order, once, marked late; then live."""
        client.is_held = False
        client.late_until = self.newest
        client.cursor = min(after, self.newest)
        self._offer_alerts(client)

    def _offer_alerts(self, client: Client) -> None:
        """Write the alerts a client has not taken, as far as it can take them now."""
        if client.is_held or client.is_resuming or client.cursor >= self.newest:
            return
        if not client.is_free:
            self._fall_behind(client)
            return
        last = min(client.cursor + CATCH_UP, self.newest)
        updates = list(self._due(client, last))
        client.cursor = last
        if updates:
            client.write_all(updates)
            client.full_since = 0.0
        if last < self.newest:
            self._fall_behind(client)

    def _due(self, client: Client, last: int) -> Iterator[Update]:
        """What a client is written of the alerts after its cursor, gaps said."""
        first = max(client.cursor + 1, self.oldest)
        if first > client.cursor + 1:
            yield gap(client.cursor + 1, first - 1)
        told = 0
        for number in range(first, last + 1):
            held = self._ring.get(number)
            if held is None:
                yield gap(number, number)
            elif may_hear(client, held.alert):
                told += 1
                yield held.late if number <= client.late_until else held.live
        self.delivered += told

    # -- topics

    def set_toplist(self, name: str, listed: Listed) -> None:
        """The newest ranking of a list."""
        ranking = follow(name, self.toplists.get(name), listed)
        if ranking is None:
            return
        self.newest_ns = max(self.newest_ns, listed.ts_ns)
        self.toplists[name] = ranking
        topic = self.topics.get(LIST + name)
        if isinstance(topic, ListTopic):
            topic.rank(ranking)
            self.spread(topic)

    def forget_lists(self, owner_of: Callable[[str], str | None]) -> None:
        """What was ranked for one user is not shown to another who gave a list the same id.

        owner_of   list -> its user; None = no list of a user
        """
        for name, ranking in list(self.toplists.items()):
            user = owner_of(name)
            if user is not None and not ranking.is_of(user):
                del self.toplists[name]
                topic = self.topics.get(LIST + name)
                if isinstance(topic, ListTopic):
                    topic.forget()
        for topic in [one for one in self.topics.values() if isinstance(one, ListTopic)]:
            owner = owner_of(topic.name.removeprefix(LIST))
            for client in [one for one in topic.followers if owner not in (None, one.user)]:
                self.leave_topic(client, topic.name)

    def drop_list(self, name: str) -> None:
        """A list is no more: forget it, and tell who follows it."""
        self.toplists.pop(name, None)
        topic = self.topics.get(LIST + name)
        for client in list(topic.followers) if topic else ():
            self.leave_topic(client, LIST + name)
            client.tell({"type": "toplist_gone", "data": {"toplist_id": name}})

    def follow_list(self, client: Client, name: str, is_delta: bool) -> None:
        """Send a list's newest ranking, and every later one, or what changes in it."""
        topic = self.topics.get(LIST + name)
        if not isinstance(topic, ListTopic):
            topic = ListTopic(LIST + name)
            if name in self.toplists:
                topic.rank(self.toplists[name])
        (topic.deltas.add if is_delta else topic.deltas.discard)(client)
        self.follow(client, topic)

    def leave_list(self, client: Client, name: str) -> None:
        """Send no more of a list."""
        self.leave_topic(client, LIST + name)

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
        for symbol in symbols:
            topic = self.topics.get(BAR + symbol)
            if topic is not None:
                topic.renew({"type": "bar", "data": self.bar(symbol)})
                self.spread(topic)

    def follow_bars(self, client: Client, symbols: Iterable[str]) -> None:
        """Send the running bars of symbols, and every later version."""
        for symbol in symbols:
            topic = self.topics.get(BAR + symbol) or Topic(BAR + symbol)
            bar = self.bar(symbol)
            if not topic.version and bar is not None:
                topic.renew({"type": "bar", "data": bar})
            self.follow(client, topic)

    def leave_bars(self, client: Client, symbols: Iterable[str]) -> None:
        """Send no more running bars of symbols."""
        for symbol in symbols:
            self.leave_topic(client, BAR + symbol)

    def follow(self, client: Client, topic: Topic) -> None:
        """Send the newest version of a topic, and every later one."""
        self.topics[topic.name] = topic
        topic.followers[client] = 0
        client.topics.add(topic.name)
        self._offer(client, topic)

    def leave_topic(self, client: Client, name: str) -> None:
        """Send no more of a topic; one that nobody follows is forgotten."""
        client.topics.discard(name)
        topic = self.topics.get(name)
        if topic is None:
            return
        topic.leave(client)
        if not topic.followers:
            del self.topics[name]
            self._news.pop(name, None)

    def spread(self, topic: Topic) -> None:
        """Have the newest version of a topic written to its followers."""
        self._news[topic.name] = topic
        self._wake.set()

    def _offer(self, client: Client, topic: Topic) -> None:
        if not topic.is_new_for(client):
            return
        if not client.is_free:
            self.conflated += 1
            telemetry.CONFLATED.inc()
            self._fall_behind(client)
            return
        update = topic.update_for(client)
        topic.followers[client] = topic.version
        if update is not None:
            client.write(update)
            client.full_since = 0.0

    # -- who follows

    def join(self, client: Client) -> None:
        """A client that hears every alert from now on, the first ones when it had time to resume."""
        client.cursor, client.is_held = self.newest, True
        asyncio.get_running_loop().call_later(HOLD_S, self.release, client)
        self.clients.add(client)
        self.connections += 1
        telemetry.CONNECTIONS.set(len(self.clients))

    def release(self, client: Client) -> None:
        """A client will not resume any more: let it have its alerts."""
        if client.is_held and client in self.clients:
            client.is_held = False
            self._offer_alerts(client)

    def leave(self, client: Client) -> None:
        """Forget a client."""
        for name in list(client.topics):
            self.leave_topic(client, name)
        self.clients.discard(client)
        self._behind.discard(client)
        client.waiting.clear()
        telemetry.CONNECTIONS.set(len(self.clients))

    # -- spreading

    async def pump(self) -> None:
        """Write what is new to whoever wants it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._spread_news())
            group.create_task(self._help_behind())

    async def _spread_news(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._spread_alerts()
            while self._news:
                topic = self._news.pop(next(iter(self._news)))
                for part in parts(list(topic.followers), PART):
                    for client in part:
                        self._offer(client, topic)
                    telemetry.SENT.inc(len(part))
                    await asyncio.sleep(0)
                    await self._spread_alerts()  # they go first

    async def _spread_alerts(self) -> None:
        while self._has_alerts:
            self._has_alerts = False
            held = self._ring.get(self.newest)
            before = self.delivered
            for part in parts(list(self.clients), PART):
                for client in part:
                    self._offer_alerts(client)
                await asyncio.sleep(0)
            told = self.delivered - before
            self._note_traces(told)
            if held is not None and told:  # of the newest, when the last client was written to
                telemetry.SENT.inc(told)
                telemetry.ALERTS_DELIVERED.inc(told)
                telemetry.DELIVERY_S.observe(time.monotonic() - held.heard_at)

    def _note_traces(self, told: int) -> None:
        """Alerts that are traced were written: to so many clients, with those beside them."""
        traced, self._traced = self._traced, []
        for trace, heard_ns, number in traced:
            tracing.record("websocket", trace, heard_ns, number=number, written=told)

    def _fall_behind(self, client: Client) -> None:
        if client in self.clients:
            self._behind.add(client)
            self._fell_behind.set()

    async def _help_behind(self) -> None:
        """Bring clients up to date that could not take everything at once; cut off who takes nothing."""
        while True:
            await self._fell_behind.wait()
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            for part in parts(list(self._behind), PART):
                for client in part:
                    self._help(client, now)
                await asyncio.sleep(0)
            if not self._behind:
                self._fell_behind.clear()

    def _help(self, client: Client, now: float) -> None:
        if client not in self.clients:
            self._behind.discard(client)
        elif not client.is_free:
            client.full_since = client.full_since or now
            if now - client.full_since > STUCK_S:
                telemetry.DROPPED_CLIENTS.inc()
                self._behind.discard(client)
                client.cut()
        else:
            client.full_since = 0.0
            self._behind.discard(client)
            self._offer_alerts(client)
            for name in client.topics:
                self._offer(client, self.topics[name])


def may_hear(client: Client, alert: dict[str, Any]) -> bool:
    """Whether an alert is wanted and of a rule that the client may see."""
    rule = alert["rule_id"]
    return rule not in client.hidden and client.wanted.takes(rule, alert["symbol"])


def gap(first: int, last: int) -> Update:
    """Alerts that are no longer held."""
    return Update({"type": "gap", "from": first, "to": last})


def parts(items: list[Item], size: int) -> Iterator[list[Item]]:
    """A list in parts of at most `size`."""
    return (items[at : at + size] for at in range(0, len(items), size))
