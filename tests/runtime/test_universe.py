"""Symbols asked of running feeds: kept in a bucket, told over NATS, known after a restart; on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runtime import universe
from runtime.cli import main
from runtime.providers import open_provider
from runtime.universe import SYMBOLS_MAX, Asked, Follower, UniverseError, Wishes
from tests.conftest import ROOT, Nats
from tests.feeds.servers import Hear, Say, Scripted, alpaca_hello, scripted
from tests.feeds.test_universe import subscribed, until

STOCKS, COINS = "alpaca://sip", "coinbase"
URLS = ("alpaca://sip?symbols=A,B&channels=trades", "coinbase://BTC-USD", "sim://?symbols=5")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPACA_KEY_ID", "ALPACA_SECRET_KEY"):
        monkeypatch.setenv(name, f"the {name}")


# -- what was asked


def test_what_was_asked_last_of_a_symbol_counts() -> None:
    wishes = Wishes().changed(["A", "B"], ["C"]).changed(["C"], ["A"])
    assert wishes.for_feed(STOCKS) == Asked(("B", "C"), ("A",))


def test_one_feed_may_differ_until_all_are_asked() -> None:
    wishes = Wishes().changed(["A"], []).changed(["B"], ["A"], STOCKS)
    assert wishes.for_feed(STOCKS) == Asked(("B",), ("A",))
    assert wishes.for_feed(COINS) == Asked(("A",), ())
    wishes = wishes.changed(["A"], ["B"])
    assert wishes.for_feed(STOCKS) == wishes.for_feed(COINS) == Asked(("A",), ("B",))
    assert list(wishes.of) == [""]


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("BRK/B", "BRK.B"),
        ("brk-b", "BRK.B"),
        ("BACpL", "BAC.PRL"),
        (" aapl ", "AAPL"),
        ("btcusdt", "BTCUSDT"),
        ("eth-usd", "ETH-USD"),
        ("BTC/USD", "BTC/USD"),
        ("*", "*"),
    ],
)
def test_symbols_are_spelled_one_way_and_stay_as_they_are_spelled(text: str, symbol: str) -> None:
    assert universe.spelled([text]) == [symbol]
    assert universe.spelled([symbol]) == [symbol]


@pytest.mark.parametrize("text", ["", "A,B", "A|B", "A\nB", "É", "x" * 40, "**", "ZVZZT", "$A"])
def test_what_is_no_symbol_is_refused(text: str) -> None:
    with pytest.raises(UniverseError):
        universe.spelled([text])


def test_there_is_an_end_to_what_may_be_asked() -> None:
    many = [f"S{k}" for k in range(SYMBOLS_MAX)]
    wishes = Wishes().changed(many, [])
    assert wishes.changed(many, []) == wishes
    with pytest.raises(UniverseError, match="at most 10000 symbols"):
        wishes.changed([], ["T"])
    with pytest.raises(UniverseError, match="A: expected in add or in remove"):
        Wishes().changed(["A"], ["A"])


# -- over NATS


@contextlib.asynccontextmanager
async def following(nats: Nats, *urls: str) -> AsyncIterator[list[Any]]:
    """Feeds that are told what is asked of them; they are not connected."""
    providers = [open_provider(one) for one in urls]
    follower = Follower(nats.bus, providers)
    await follower.read()
    task = asyncio.create_task(follower.keep())
    try:
        yield [getattr(one, "universe", None) for one in providers]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_feed_takes_what_it_can_carry_and_what_is_meant_for_it(nats: Nats) -> None:
    async with following(nats, *URLS) as (stocks, coins, _):
        await universe.change(nats.bus, ["BRK/B", "ETH-USD"], ["B"])
        await until(lambda: coins.target() == ["BTC-USD", "ETH-USD"])
        await until(lambda: stocks.target() == ["A", "BRK.B"])
        await universe.change(nats.bus, ["C"], [], STOCKS)
        await until(lambda: stocks.target() == ["A", "BRK.B", "C"])
        await universe.reset(nats.bus)
        await until(lambda: stocks.target() == ["A", "B"])
        await until(lambda: coins.target() == ["BTC-USD"])


async def test_feeds_that_start_later_know_what_was_asked(nats: Nats) -> None:
    await universe.change(nats.bus, ["C"], ["A"])
    async with following(nats, URLS[0]) as (stocks,):
        assert stocks.target() == ["B", "C"]


async def test_feeds_tell_each_symbol_once_and_those_of_one_name_are_told_apart(nats: Nats) -> None:
    async with following(nats, *URLS, URLS[0]):
        async with asyncio.timeout(20):
            while len(told := await universe.feeds_of(nats.bus)) < 4:
                pass
    assert [one["source"] for one in told] == [STOCKS, f"{STOCKS}#2", COINS, "sim"]
    assert told[0]["unanswered"] == ["A", "B"]
    assert (told[0]["changes"], told[3]["changes"]) == ("at once", universe.NO_CHANGES)
    assert universe.check(told, ["C"], "") == [STOCKS, f"{STOCKS}#2", COINS]
    for add, source, text in [
        (["C"], "nobody", "no feed 'nobody' runs; there are alpaca://sip, "),
        (["ETH-USD"], STOCKS, "ETH-USD: expected a symbol that one of alpaca://sip can carry"),
        (["C"], "sim", "stand in their URL"),
    ]:
        with pytest.raises(UniverseError, match=text):
            universe.check(told, add, source)
    assert universe.check([], ["ETH-USD"], STOCKS) == []  # it may start later


async def test_what_others_wrote_that_is_no_wish_changes_nothing(nats: Nats) -> None:
    async with following(nats, URLS[0]) as (stocks,):
        await universe.change(nats.bus, ["C"], [])
        await until(lambda: stocks.target() == ["A", "B", "C"])
        for wrong in (b"[", b"[]", b'{"": {"add": ["A,B"], "remove": []}}', b'{"": {"add": 1}}'):
            await nats.bus.kv(universe.BUCKET).put(universe.KEY, wrong)
            with pytest.raises(UniverseError, match="universe/asked: expected"):
                await universe.wishes_of(nats.bus)
        right = b'{"": {"add": ["D"], "remove": ["A"]}}'
        await nats.bus.kv(universe.BUCKET).put(universe.KEY, right)
        await until(lambda: stocks.target() == ["B", "D"])


async def test_two_who_ask_at_once_are_both_heard(nats: Nats) -> None:
    names = [f"S{letter}" for letter in "ABCDE"]
    await asyncio.gather(*(universe.change(nats.bus, [one], []) for one in names))
    assert sorted((await universe.wishes_of(nats.bus)).for_feed("").add) == names


# -- from the command line, across a restart


async def jetscan(nats: Nats, *words: str) -> Result:
    environment = {"JETSCAN_NATS_URL": nats.url}
    command = ["universe", *words]
    return await asyncio.to_thread(CliRunner().invoke, main, command, env=environment)


@contextlib.asynccontextmanager
async def ingest(nats: Nats, server: Scripted) -> AsyncIterator[None]:
    url = f"alpaca://test?symbols=A&channels=trades&codec=json&host={server.url}"
    environment = {**os.environ, "JETSCAN_NATS_URL": nats.url, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-m", "runtime.cli", "ingest", url)
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_a_process_follows_what_it_is_told_and_begins_with_it_after_a_restart(
    nats: Nats,
) -> None:
    first = [
        *alpaca_hello("A"),
        Hear(),
        Say([{"T": "error", "code": 405, "msg": "symbol limit exceeded"}]),
        Hear(),
        subscribed(),
        Hear(),
        subscribed("B"),
    ]
    second = alpaca_hello("B")
    async with scripted(first, second) as server:
        async with ingest(nats, server):
            await until(lambda: len(server.heard) == 2)
            assert (await jetscan(nats, "add", "b")).output == "alpaca://test: follow B\n"
            await until(lambda: len(server.heard) == 3)
            shown = await jetscan(nats, "show", "--json")
            assert json.loads(shown.output) == [
                {"source": "alpaca://test", "symbol": "A", "state": "acknowledged", "reason": ""},
                {
                    "source": "alpaca://test",
                    "symbol": "B",
                    "state": "refused",
                    "reason": "symbol limit exceeded (405)",
                },
            ]
            told = await jetscan(nats, "remove", "A", "--source", "alpaca://test", "--json")
            assert json.loads(told.output)["feeds"] == ["alpaca://test"]
            await until(lambda: len(server.heard) == 5)
            wrong = await jetscan(nats, "add", "BTC-USD")
            assert (wrong.exit_code, "can carry" in wrong.output) == (2, True)
        async with ingest(nats, server):
            await until(lambda: len(server.heard) == 7)
    asked = [json.loads(one) for one in server.heard]
    assert [one.get("trades") for one in asked] == [None, ["A"], ["B"], ["A"], ["B"], None, ["B"]]
    assert (await jetscan(nats, "show")).exit_code == 1
    assert (await jetscan(nats, "reset")).output == "feeds follow their URLs\n"
    assert await universe.wishes_of(nats.bus) == Wishes()
