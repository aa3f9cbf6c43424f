"""Metrics of symbols while somebody follows them: one question a second and partition, whoever follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runtime import telemetry
from runtime.bus import Bus, BusError, Message
from runtime.frames import BadFrame, Frame, decode, encode, texts
from runtime.gateway.client import Client
from runtime.gateway.hub import Hub
from runtime.gateway.topics import Topic
from runtime.gateway.wanted import Names
from runtime.shapes import rfc3339
from runtime.subjects import Subjects, partition_of

log = telemetry.get_logger(__name__)

ASK, ANSWERS, VOCABULARY = "ask.why", "why.values", "ask.metrics"
ASK_S = 1.0
AT_ONCE = 64  # names of one question
SYMBOLS_MAX = 500  # of all clients: each costs the scanner a look at one row a second
METRICS = "metrics:"
ASKED = "live-"  # how ids of our questions begin


class MetricsTopic(Topic):
    """Some metrics of a symbol."""

    def __init__(self, symbol: str, names: Names) -> None:
        super().__init__(topic_name(symbol, names))
        self.symbol, self.names = symbol, names
        self._values: Any = None

    def hear(self, ts_ns: int, known: Mapping[str, Any], missing: Mapping[str, str]) -> bool:
        """Take an answer; whether anything is new in it."""
        metrics = {name: known.get(name) for name in sorted(self.names)}
        reasons = {name: missing[name] for name in metrics if name in missing}
        if (metrics, reasons) == self._values:
            return False
        self._values = (metrics, reasons)
        told = {"symbol": self.symbol, "timestamp": rfc3339(ts_ns), "metrics": metrics}
        self.renew({"type": "metrics", "data": {**told, "missing": reasons}})
        return True


class LiveMetrics:
    """The metrics that clients follow."""

    def __init__(
        self, bus: Bus, subjects: Subjects, hub: Hub, accepts: Mapping[str, Callable[[str], str]]
    ) -> None:
        self._bus, self._subjects, self._hub = bus, subjects, hub
        self._accept = accepts.get(VOCABULARY)
        self._followed: dict[str, set[str]] = {}  # symbol -> topics
        self._wake = asyncio.Event()
        self._asked = 0

    def check(self, names: list[str]) -> None:
        """Whether all are metrics; raises ValueError with the nearest name."""
        if self._accept is None:
            raise ValueError(f"no hosted function answers {VOCABULARY}")
        self._accept(" ".join(names))

    def symbols_of(self, client: Client) -> set[str]:
        """The symbols of which a client follows metrics."""
        return {symbol for symbol, _ in self._topics_of(client)}

    def _topics_of(self, client: Client) -> list[tuple[str, str]]:
        found = [self._hub.topics[name] for name in client.topics if name.startswith(METRICS)]
        return [(one.symbol, one.name) for one in found if isinstance(one, MetricsTopic)]

    def follow(self, client: Client, symbol: str, names: Names) -> None:
        """Send these metrics of a symbol, in place of others of it; raises ValueError."""
        if symbol not in self._followed and len(self._followed) >= SYMBOLS_MAX:
            raise ValueError(f"at most {SYMBOLS_MAX} symbols have live metrics at once; try later")
        self.leave(client, symbol)
        name = topic_name(symbol, names)
        self._hub.follow(client, self._hub.topics.get(name) or MetricsTopic(symbol, names))
        self._followed.setdefault(symbol, set()).add(name)
        self._wake.set()

    def leave(self, client: Client, symbol: str) -> None:
        """Send no more metrics of a symbol."""
        for one, name in self._topics_of(client):
            if one == symbol:
                self._leave(client, one, name)

    def leave_all(self, client: Client) -> None:
        """A client is gone."""
        for symbol, name in self._topics_of(client):
            self._leave(client, symbol, name)

    def _leave(self, client: Client, symbol: str, name: str) -> None:
        self._hub.leave_topic(client, name)
        if name not in self._hub.topics:
            topics = self._followed.get(symbol, set())
            topics.discard(name)
            if not topics:
                self._followed.pop(symbol, None)

    async def run(self) -> None:
        """Ask once a second while anybody follows, until cancelled."""
        listener = await self._bus.listen(f"{ANSWERS}.*", self._heard)
        try:
            while True:
                await self._wake.wait()
                if not self._followed:
                    self._wake.clear()
                    continue
                if self._bus.connected:  # what waits for it would all be asked at once
                    await self._ask()
                await asyncio.sleep(ASK_S)
        finally:
            await listener.stop()

    async def _ask(self) -> None:
        """One message for every partition that has a symbol somebody follows."""
        rows: dict[int, list[tuple[str, str]]] = {}
        for symbol in sorted(self._followed):
            names = sorted({one for topic in self._of(symbol) for one in topic.names})
            asked = rows.setdefault(partition_of(symbol, self._subjects.partitions), [])
            asked += [(symbol, " ".join(names[k : k + AT_ONCE])) for k in range(0, len(names), AT_ONCE)]  # fmt: skip
        record = self._subjects.record_of(ASK)
        for partition, asked in rows.items():
            self._asked += 1
            data = encode(question(asked, f"{ASKED}{self._asked}"), record)
            try:
                # Nobody waits for it for long: a question that is lost is asked again in a second.
                await self._bus.publish(self._subjects.wire(ASK, partition), data)
            except BusError as error:
                log.warning("metrics not asked", partition=partition, reason=str(error))

    def _of(self, symbol: str) -> list[MetricsTopic]:
        topics = (self._hub.topics.get(name) for name in self._followed.get(symbol, ()))
        return [one for one in topics if isinstance(one, MetricsTopic)]

    def _heard(self, message: Message) -> None:
        if not self._followed:
            return
        try:
            frame = decode(message.data, self._subjects.record_of(ANSWERS))
            told = zip(frame["id"].tolist(), frame["body"].tolist(), strict=True)
            bodies = [json.loads(body) for name, body in told if name.startswith(ASKED)]
        except (BadFrame, ValueError) as error:
            log.error("metrics refused", reason=str(error))
            return
        for symbol, whole in by_symbol(bodies).items():
            for topic in self._of(symbol):
                if self._is_news(topic, whole):
                    self._hub.spread(topic)

    def _is_news(self, topic: MetricsTopic, whole: Mapping[str, Any]) -> bool:
        if "fault" in whole:
            return topic.hear(self._hub.newest_ns, {}, dict.fromkeys(topic.names, whole["fault"]))
        known = whole["metrics"].keys() | whole["missing"].keys()
        if not topic.names <= known:  # another gateway asked for less
            return False
        return topic.hear(whole["ts_ns"], whole["metrics"], whole["missing"])


def by_symbol(bodies: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Answers as one for each symbol."""
    found: dict[str, dict[str, Any]] = {}
    for body in bodies:
        whole = found.setdefault(body["symbol"], {"metrics": {}, "missing": {}})
        for name in ("metrics", "missing"):
            whole[name] |= body.get(name, {})
        whole |= {name: body[name] for name in ("ts_ns", "fault") if name in body}
    return found


def topic_name(symbol: str, names: Names) -> str:
    """What clients who follow the same metrics of a symbol have in common."""
    return f"{METRICS}{symbol}:{','.join(sorted(names))}"


def question(asked: list[tuple[str, str]], identity: str) -> Frame:
    """What metrics of symbols (symbol, names) are now, as one message."""
    columns = {
        "ts_ns": np.zeros(len(asked), dtype=np.int64),
        "rule": texts([""] * len(asked)),
        "about": texts([symbol for symbol, _ in asked]),
        "id": texts([identity] * len(asked)),
        "names": texts([names for _, names in asked]),
    }
    return Frame(columns, source="gateway")
