"""Feeds read from chaos servers: whatever goes wrong, all that the vendor still has comes, once, and the rest is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from click.testing import CliRunner

from runtime.chaos.faults import SCRIPTS, Fault, parse_script
from runtime.chaos.server import DIALECTS, WITHOUT_WEBSOCKET, ChaosFeed
from runtime.chaos.tape import Tape
from runtime.cli import main
from runtime.connections import Connection
from runtime.failover import Failover
from runtime.ingest import Ingest
from runtime.providers import Batch, ProviderError, open_provider
from runtime.providers.trouble import Dropped
from runtime.subjects import Subjects
from tests.conftest import ROOT, Nats

RATE = 2_000.0
NUMBERED = ("binance", "coinbase")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPACA_KEY_ID", "ALPACA_SECRET_KEY", "MASSIVE_KEY", "DATABENTO_KEY"):
        monkeypatch.setenv(name, f"the {name}")
    monkeypatch.setattr("runtime.providers.rest.WAIT_S", 0.01)


@dataclass
class Got:
    """What came out of a feed."""

    numbers: dict[str, list[int]] = field(default_factory=dict)  # of each symbol, as they came
    open_gaps: set[str] = field(default_factory=set)  # symbols whose newest gap is not repaired
    gaps: int = 0
    total: int = 0

    def take(self, batch: Batch) -> None:
        if batch.index is None:
            return
        for row, place in enumerate(batch.index.tolist()):
            symbol = batch.symbols[place]
            if batch.kind == "trades":
                self.numbers.setdefault(symbol, []).append(int(batch.columns["id"][row]))
                self.total += 1
            elif batch.kind == "gaps":
                is_repaired = bool(batch.columns["repaired"][row])
                self.gaps += not is_repaired and not int(batch.columns["to_ns"][row])
                (self.open_gaps.discard if is_repaired else self.open_gaps.add)(symbol)

    def lacking(self, symbol: str) -> set[int]:
        """Numbers between the first and the last that did not come."""
        got = self.numbers[symbol]
        return set(range(got[0], max(got) + 1)) - set(got)

    def twice(self, symbol: str) -> set[int]:
        return {one for one, times in Counter(self.numbers[symbol]).items() if times > 1}


@contextlib.asynccontextmanager
async def read(
    feed: ChaosFeed, mute_s: float = 0.0
) -> AsyncIterator[tuple[Got, asyncio.Task[None]]]:
    provider = open_provider(feed.url)
    if mute_s:
        provider.mute_s = mute_s  # type: ignore[attr-defined]
    got = Got()

    async def reading() -> None:
        connection = Connection(provider, asyncio.Event(), lambda low, _: low)
        async with contextlib.aclosing(connection.batches()) as batches:
            async for batch in batches:
                got.take(batch)

    task = asyncio.create_task(reading())
    try:
        yield got, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run(vendor: str, script: str, mute_s: float = 0.0) -> tuple[ChaosFeed, Got]:
    """A feed read until all faults have happened, and everything is whole or a second has passed since."""
    faults = parse_script(script)
    feed = ChaosFeed(vendor, faults, RATE)
    async with feed.running(), read(feed, mute_s) as (got, task), asyncio.timeout(60):
        while sum(feed.counts[one.kind] for one in faults) < len(faults) or feed.tape.end < 300:
            await asyncio.sleep(0.02)
        start = got.total
        while got.total < start + 500 or got.open_gaps:
            assert not task.done(), task
            await asyncio.sleep(0.02)
    return feed, got


ENDS = ["drop@300", "reset@300", "close:1000@300", "close:1001@300", "half@300", "away:0.3@300"]


@pytest.mark.parametrize("vendor", sorted(DIALECTS))
@pytest.mark.parametrize("script", ENDS)
async def test_after_an_end_all_comes_that_the_vendor_has(vendor: str, script: str) -> None:
    feed, got = await run(vendor, script)
    assert feed.counts["connections"] >= 2
    assert got.gaps >= len(feed.tape.symbols)
    for symbol in feed.tape.symbols:
        assert got.lacking(symbol) == got.twice(symbol) == set()


@pytest.mark.parametrize("vendor", sorted(DIALECTS))
async def test_a_reader_that_is_too_slow_has_all_and_is_not_given_up(vendor: str) -> None:
    feed, got = await run(vendor, "slow@300")
    assert feed.counts["connections"] == (1 if vendor == "databento" else 2)
    assert all(got.lacking(symbol) == set() for symbol in feed.tape.symbols)


@pytest.mark.parametrize("vendor", ["databento", "binance"])
async def test_a_server_that_was_away_is_read_within_two_seconds_of_its_return(vendor: str) -> None:
    feed = ChaosFeed(vendor, parse_script("away:4@300"), RATE)
    async with feed.running(), asyncio.timeout(30):
        connection = Connection(open_provider(feed.url), asyncio.Event(), lambda _, high: high)
        async with contextlib.aclosing(connection.batches()) as batches:
            async for _ in batches:
                if len(feed.connected_at_s) > 1:
                    break
    assert feed.connected_at_s[1] - feed.back_at_s < 2.0


@pytest.mark.parametrize("vendor", sorted(DIALECTS))
async def test_silence_is_an_end(vendor: str) -> None:
    feed, got = await run(vendor, "silence@300", mute_s=0.5)
    assert feed.counts["connections"] == 2
    assert all(got.lacking(symbol) == set() for symbol in feed.tape.symbols)


@pytest.mark.parametrize("vendor", NUMBERED)
async def test_frames_that_come_twice_or_backwards_are_told_once(vendor: str) -> None:
    feed, got = await run(vendor, "duplicate@200,reorder@400,giant:500@500")
    assert feed.counts["connections"] == 1
    for symbol in feed.tape.symbols:
        assert got.lacking(symbol) == got.twice(symbol) == set()


@pytest.mark.parametrize(
    ("vendor", "code"), [("alpaca", "406"), ("massive", "max_connections"), ("databento", "3")]
)
async def test_a_twin_on_our_key_is_waited_for(vendor: str, code: str) -> None:
    _, got = await run(vendor, f"error:{code}@300")
    assert all(got.lacking(symbol) == set() for symbol in got.numbers)


@pytest.mark.parametrize("vendor", ["alpaca", "massive", "databento"])
async def test_a_key_that_is_right_no_more_ends_the_feed(vendor: str) -> None:
    feed = ChaosFeed(vendor, parse_script("auth@200,drop@300"), RATE)
    async with feed.running(), read(feed) as (got, task), asyncio.timeout(30):
        with pytest.raises(Dropped, match=vendor):
            await task
        assert got.total


async def test_what_databento_has_no_more_stays_a_gap() -> None:
    feed = ChaosFeed("databento", parse_script("error:8@300"), RATE)
    async with feed.running(), read(feed) as (got, _), asyncio.timeout(30):
        while got.total < 1_000:
            await asyncio.sleep(0.02)
    assert feed.counts["connections"] == 2
    assert got.open_gaps == set(feed.tape.symbols)


async def test_stamps_that_are_off_are_what_the_vendor_said() -> None:
    feed, got = await run("alpaca", "skew:-30@200")
    assert feed.counts["connections"] == 1
    assert all(got.lacking(symbol) == set() for symbol in feed.tape.symbols)


@pytest.mark.parametrize("vendor", ["alpaca", "binance"])
async def test_where_one_connection_falls_silent_another_to_the_same_feed_goes_on(
    vendor: str,
) -> None:
    first = ChaosFeed(vendor, parse_script("silence@1000"), RATE)
    second, got = ChaosFeed(vendor, (), RATE, tape=first.tape), Got()
    async with first.running(), second.running(), asyncio.timeout(30):
        failover = Failover([open_provider(one.url) for one in (first, second)])
        async with contextlib.aclosing(failover.batches(asyncio.Event())) as batches:
            async for batch in batches:
                got.take(batch)
                if failover.active == 1 and got.total > first.counts["prints"] + 6_000:
                    break
    assert got.open_gaps == set()
    for symbol in first.tape.symbols:
        assert got.lacking(symbol) == got.twice(symbol) == set()


# -- what the servers are made of


def test_every_named_script_can_be_read_and_faults_come_in_order() -> None:
    for name in SCRIPTS:
        faults = parse_script(name)
        assert [one.at for one in faults] == sorted(one.at for one in faults)
    assert parse_script("close@5, drop@2") == [Fault(2, "drop"), Fault(5, "close", "1000.0")]


@pytest.mark.parametrize(
    "text", ["drop", "drop@x", "fall@3", "drop:3@4", "close:x@4", "error@4", "@4"]
)
def test_what_is_no_fault_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ProviderError, match=r"script: .*expected"):
        parse_script(text)


def test_a_tape_is_the_same_for_a_seed_and_numbers_each_symbol_without_holes() -> None:
    clock = [10**18]
    one, other = (Tape(["A", "B"], 100.0, 7, lambda: clock[0]) for _ in range(2))
    assert one.run() == 0  # nobody asked yet
    one.begin()
    other.begin()
    clock[0] += 3_000_000_000
    assert one.run() == other.run() == 300
    assert one.between(0, 300) == other.between(0, 300)
    for symbol in "AB":
        numbers = [print_.number for print_ in one.of(symbol)]
        assert numbers == list(range(1, len(numbers) + 1))
    assert {print_.symbol for print_ in one.between(0, 300, {"B"})} == {"B"}


def test_a_tape_forgets_what_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.chaos.tape.PRINTS_MAX", 100)
    clock = [10**18]
    tape = Tape(["A"], 100.0, 7, lambda: clock[0])
    tape.begin()
    clock[0] += 2_000_000_000
    assert tape.run() == 200
    assert [one.number for one in tape.between(0, 200)] == list(range(151, 201))


async def test_rest_refuses_what_it_does_not_know() -> None:
    import httpx

    for vendor in set(DIALECTS) - set(WITHOUT_WEBSOCKET):
        feed = ChaosFeed(vendor)
        async with feed.running(), httpx.AsyncClient() as http:
            address = f"http://127.0.0.1:{feed.port}"
            assert (await http.get(f"{address}/nowhere")).status_code == 404
    assert time.monotonic() >= feed.back_at_s > 0


# -- from the command line


def test_the_scripts_are_listed_and_a_wrong_one_is_a_usage_error() -> None:
    listed = CliRunner().invoke(main, ["chaos-feed", "alpaca", "--list", "--json"])
    assert {one["script"] for one in json.loads(listed.output)} == set(SCRIPTS)
    assert set(main.commands["chaos-feed"].params[0].type.choices) == set(DIALECTS)
    assert "away:S" in CliRunner().invoke(main, ["chaos-feed", "alpaca", "--list"]).output
    wrong = CliRunner().invoke(main, ["chaos-feed", "alpaca", "--script", "fall@3"])
    assert wrong.exit_code == 2
    assert "expected one of drop" in wrong.output


async def test_a_feed_reads_what_the_command_plays(nats: Nats, subjects: Subjects) -> None:
    words = ["chaos-feed", "binance", "--script", "drop@200", "--rate", "500", "--json"]
    playing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runtime.cli", *words),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert playing.stdout is not None
    url = json.loads(await playing.stdout.readline())["url"]
    ingest = Ingest(nats.bus, subjects, open_provider(url))
    running = asyncio.create_task(ingest.run())
    try:
        async with asyncio.timeout(60):
            while ingest.published < 600:
                await asyncio.sleep(0.05)
    finally:
        ingest.stop()
        playing.terminate()
        told = json.loads(await playing.stdout.read())
        await playing.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert told["drop"] == 1
    assert told["connections"] == 2
