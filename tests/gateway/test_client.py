"""The client over a real gateway: what it follows, that it goes on where it was, that it does not insist."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runtime import client as client_module
from runtime.cli import main
from runtime.client import Feed, Refused, wait_s
from runtime.gateway import ring
from runtime.watch import Watch, lines, watch
from tests.gateway.deployment import Running, running
from tests.gateway.test_socket import PRODUCTION, alert, rank, token


def address(made: Running) -> str:
    return str(made.http.base_url).replace("http", "ws") + "/ws"


async def taken(messages: AsyncIterator[Any], count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await anext(messages) for _ in range(count)]


async def followed(made: Running, feed: Feed) -> None:
    """Wait until a connection is there and has told from where on its alerts are."""
    async with asyncio.timeout(10):
        while not made.gateway.hub.clients or feed.after is None:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_packed", [False, True], ids=["json", "msgpack"])
async def test_what_came_while_the_connection_was_cut_comes_once_and_in_order(
    tmp_path: Path, is_packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "WAIT_S", 0.2)
    async with running(tmp_path) as made, Feed(address(made), packed=is_packed) as feed:
        messages = aiter(feed)
        first = asyncio.create_task(anext(messages))
        await followed(made, feed)
        await alert(made, 1)
        heard = [await first]
        for number in (2, 3, 4):
            (one,) = made.gateway.hub.clients
            one.cut()
            await alert(made, number)
            heard += await taken(messages, 1)
    assert [message["data"]["seq"] for message in heard] == [1, 2, 3, 4]
    assert feed.reconnects >= 3


async def test_an_alert_that_comes_before_the_answer_to_resume_is_not_taken_for_the_next() -> None:
    feed = Feed("ws://nowhere", after=3)
    feed._is_resuming = True
    live = {"type": "alert", "data": {"seq": 7}}
    assert feed._take(live) is None
    assert feed._take({"type": "success", "data": {"action": "resumed", "data": {}}}) is None
    late = [feed._take({"type": "alert", "late": True, "data": {"seq": k}}) for k in (4, 5, 6, 7)]
    assert None not in late
    assert feed._take(live) is None


async def test_what_is_no_longer_held_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "RING_MAX", 2)
    async with running(tmp_path) as made, Feed(address(made), after=1) as feed:
        for number in range(1, 6):
            await alert(made, number)
        heard = await taken(aiter(feed), 3)
    assert heard[0] == {"type": "gap", "from": 2, "to": 3}
    assert [message["data"]["seq"] for message in heard[1:]] == [4, 5]


async def test_a_toplist_is_given_whole_though_only_changes_are_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as made, Feed(address(made)) as feed:
        await feed.follow_toplist("gainers_5m")
        messages = aiter(feed)
        first = asyncio.create_task(anext(messages))
        await followed(made, feed)
        await rank(made, "gainers_5m", 1, "")
        heard = [await first]
        await rank(made, "gainers_5m", 2, "", "B")
        heard += await taken(messages, 1)
    assert [one["data"]["snapshot"] for one in heard] == [True, False]
    rows = [[row["symbol"] for row in one["data"]["rankings"]] for one in heard]
    assert rows == [["A"], ["B"]]


async def test_a_token_that_is_not_taken_is_told_and_not_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path, **PRODUCTION) as made:
        for wrong in ("x.y.z", token("ann", until_s=1)):
            with pytest.raises(Refused, match="token"):
                await taken(aiter(Feed(address(made), wrong)), 1)
        with pytest.raises(Refused, match="404"):
            await taken(aiter(Feed(address(made).replace("/ws", "/nothing"))), 1)

        async def fresh() -> str:
            return token("ann")

        async with Feed(address(made), fresh) as feed:
            first = asyncio.create_task(anext(aiter(feed)))
            await followed(made, feed)
            await alert(made, 1)
            assert (await first)["data"]["seq"] == 1


def test_the_wait_before_a_connection_is_random_below_a_bound_that_doubles() -> None:
    for failures, bound in [(0, 0.25), (3, 2.0), (99, 15.0)]:
        waits = [wait_s(failures) for _ in range(200)]
        assert 0.7 * bound < max(waits) <= bound
        assert min(waits) < 0.3 * bound


async def test_watch_prints_lines_for_people_and_for_programs(tmp_path: Path) -> None:
    async with running(tmp_path) as made:
        await alert(made, 1)
        await rank(made, "gainers_5m", 1, "")
        while not made.gateway.hub.toplists:
            await asyncio.sleep(0.01)
        told: dict[bool, list[str]] = {}
        for as_json in (True, False):
            told[as_json] = []
            feed = Feed(address(made), after=0)
            wanted = Watch(toplists=("gainers_5m",))
            async with asyncio.timeout(10), feed:
                await watch(feed, wanted, told[as_json].append, as_json, count=2)
    kinds = sorted(json.loads(line)["type"] for line in told[True])
    assert kinds == ["alert", "toplist_update"]
    text = "\n".join(told[False])
    assert "00:00:01        1  A              1.50  Up (late)  price=1.5" in text
    assert "gainers_5m: 1 symbols" in text


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"type": "gap", "from": 2, "to": 3}, "alerts 2 to 3"),
        ({"type": "toplist_gone", "data": {"toplist_id": "x"}}, "x: no such toplist"),
        ({"type": "error", "code": "c", "message": "no"}, "error: no"),
        ({"type": "later", "data": 1}, '"later"'),
        (
            {"type": "metrics", "data": {"symbol": "A", "timestamp": "2026-01-05T14:30:00Z", "metrics": {"price": 1.5, "vwap": None}}},
            "14:30:00  A        price=1.5 vwap=-",
        ),
    ],
)  # fmt: skip
def test_every_message_has_a_line(message: dict[str, Any], says: str) -> None:
    assert says in "\n".join(lines(message))


async def test_the_command_ends_with_what_is_wrong(tmp_path: Path) -> None:
    async with running(tmp_path, **PRODUCTION) as made:
        file = tmp_path / "token"
        file.write_text("x.y.z\n", encoding="utf-8")
        words = ["watch", "--url", address(made), "--token-file", str(file)]
        result = await asyncio.to_thread(CliRunner().invoke, main, words)
        assert (result.exit_code, "token is not valid" in result.output) == (1, True)
        words = ["watch", "--url", address(made), "--metrics", "AAPL"]
        result = await asyncio.to_thread(CliRunner().invoke, main, words)
        assert "expected SYMBOL:NAME,NAME" in result.output
