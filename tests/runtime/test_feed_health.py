"""How feeds are: told by a real ingest over NATS, heard, forgotten, and bounded against junk."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtime.feed_health import FORGOTTEN_S, TOLD_MAX, Health, Heard
from runtime.ingest import Ingest
from runtime.providers import Batch
from runtime.providers.trouble import Dropped
from runtime.subjects import Subjects
from tests.conftest import Nats

T0_NS = 1_767_623_400_000_000_000


class Message:
    """What a subscription hands over."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def told(ingest: str, *feeds: dict[str, Any]) -> Any:
    return Message(json.dumps({"ingest": ingest, "feeds": feeds}).encode())


def feed(source: str, state: str) -> dict[str, Any]:
    return Health(source, state, T0_NS, "why").told()


def test_the_worst_comes_first_and_what_is_not_told_any_more_is_forgotten() -> None:
    now_s = 0.0
    heard = Heard(lambda: now_s)
    heard.hear(told("one", feed("a", "ok"), feed("b", "standby")))
    heard.hear(told("two", feed("c", "lost")))
    assert [one.source for one in heard.feeds()] == ["c", "b", "a"]
    now_s = FORGOTTEN_S - 1
    heard.hear(told("two", feed("c", "ok")))
    assert [(one.source, one.state) for one in heard.feeds()] == [
        ("b", "standby"),
        ("a", "ok"),
        ("c", "ok"),
    ]
    now_s = FORGOTTEN_S + 1
    assert [one.source for one in heard.feeds()] == ["c"]


WRONG_STATE = json.dumps({"ingest": "x", "feeds": [feed("b", "fine")]}).encode()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"ingest": 1, "feeds": [1]}', WRONG_STATE])
def test_junk_is_left_out(data: bytes) -> None:
    heard = Heard()
    heard.hear(told("one", feed("a", "ok")))
    heard.hear(Message(data))  # type: ignore[arg-type]
    assert [one.source for one in heard.feeds()] == ["a"]


def test_ever_new_names_fill_no_memory() -> None:
    heard = Heard()
    for number in range(TOLD_MAX + 50):
        heard.hear(told(f"i{number}", feed("a", "ok")))
    assert len(heard.feeds()) == TOLD_MAX


class Dropping:
    """A feed that drops after its first trade and is open again when told."""

    name, speed, warm_ns, mute_s = "alpaca", 0.0, 0, 3600.0

    def __init__(self) -> None:
        self.may_drop, self.may_open, self.over = (threading.Event() for _ in range(3))
        self.connections = 0

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        self.connections += 1
        if self.connections == 1:
            yield self._trade(0)
            self.may_drop.wait()
            raise Dropped(self.name, "406")
        self.may_open.wait()
        yield self._trade(1)
        self.over.wait()

    def _trade(self, second: int) -> Batch:
        columns = {"ts_ns": np.array([T0_NS + second * 10**9])}
        columns |= {"price": np.array([1.0]), "size": np.array([1.0])}
        return Batch("trades", columns, ["A"], np.zeros(1, dtype=np.int64))


async def test_an_ingest_tells_of_its_feed(nats: Nats, subjects: Subjects) -> None:
    dropping, heard = Dropping(), Heard()
    listener = await heard.listen(nats.bus)
    running = asyncio.create_task(Ingest(nats.bus, subjects, dropping).run())

    async def becomes(state: str) -> Health:
        async with asyncio.timeout(30):
            while [one.state for one in heard.feeds()] != [state]:
                await asyncio.sleep(0.02)
        return heard.feeds()[0]

    try:
        assert (await becomes("ok")).source == "alpaca"
        dropping.may_drop.set()
        assert "406" in (await becomes("lost")).reason
        dropping.may_open.set()
        assert (await becomes("ok")).reason == ""
    finally:
        for one in (dropping.may_drop, dropping.may_open, dropping.over):
            one.set()
        await running
        await listener.stop()
