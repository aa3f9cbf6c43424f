"""An ordered list of sources: who is published when one falls silent, and what the seam loses and doubles."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from runtime import telemetry
from runtime.connections import Connection
from runtime.disagreement import Disagreement
from runtime.failover import RETURN_S, TAKEOVER_S, Failover
from runtime.providers import SECOND_NS, Batch, ProviderError
from runtime.providers.seen import Overlap
from runtime.providers.trouble import Dropped
from runtime.seams import HELD_NS
from runtime.silences import Places

T0 = 1_767_623_400_000_000_000


def trades(*seconds: float, price: float = 1.0) -> Batch:
    times = np.array([T0 + int(one * SECOND_NS) for one in seconds])
    columns = {"ts_ns": times, "price": np.full(len(times), price), "size": np.ones(len(times))}
    return Batch("trades", columns, ["A"], np.zeros(len(times), dtype=np.int64))


def clock(second: int) -> Batch:
    return Batch("clock", {"ts_ns": np.array([T0 + second * SECOND_NS])}, [], None)


class Told:
    """A provider that is never asked: tests hand batches over."""

    speed, warm_ns = 0.0, 0

    def __init__(self, name: str) -> None:
        self.name = name

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        raise AssertionError("not asked")


class Desk:
    """A failover with a clock of its own."""

    def __init__(self, count: int = 2) -> None:
        self.now_s = 100.0
        self.failover = Failover([Told(f"s{k}") for k in range(count)], lambda: self.now_s)
        self.said: list[Batch] = []

    def hear(self, place: int, batch: Batch) -> None:
        self.said += self.failover._taken(place, batch)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.said += self.failover._choose()

    def seconds(self) -> list[float]:
        """Times of the trades that were published, and of nothing else."""
        return [
            (ts_ns - T0) / SECOND_NS
            for one in self.said
            if one.kind == "trades"
            for ts_ns in one.columns["ts_ns"].tolist()
        ]

    def gaps(self) -> list[tuple[float, float, int]]:
        return [
            (
                (int(one.columns["from_ns"][0]) - T0) / SECOND_NS,
                (int(one.columns["to_ns"][0]) - T0) / SECOND_NS,
                int(one.columns["repaired"][0]),
            )
            for one in self.said
            if one.kind == "gaps"
        ]


def test_the_first_is_published_and_what_a_standby_sends_is_held() -> None:
    desk = Desk()
    for second in range(5):
        desk.hear(0, trades(second))
        desk.hear(1, trades(second + 0.1))
        desk.wait(1)
    assert desk.seconds() == [0, 1, 2, 3, 4]
    assert desk.gaps() == []


def test_a_silent_source_is_followed_by_the_next_from_its_newest_event_on() -> None:
    desk = Desk()
    desk.hear(1, trades(0))
    desk.hear(0, trades(1))
    for second in (1.5, 2.5, 3.5):
        desk.wait(1)
        desk.hear(1, trades(second))
    assert desk.seconds() == [1]
    desk.wait(TAKEOVER_S - 2.9)
    assert desk.seconds() == [1, 1.5, 2.5, 3.5]
    assert desk.gaps() == [(1, 1, 1)]  # a seam without a loss
    desk.hear(0, trades(9))
    desk.hear(1, trades(4))
    assert desk.seconds()[-1] == 4


def test_a_standby_that_came_too_late_leaves_a_gap() -> None:
    desk = Desk()
    desk.hear(0, trades(1))
    desk.wait(3.5)
    desk.hear(1, trades(5))
    desk.wait(0.1)
    assert desk.gaps() == [(1, 5, 0)]
    assert desk.seconds() == [1, 5]


def test_what_is_held_reaches_back_only_so_far() -> None:
    desk = Desk()
    desk.hear(0, trades(0))
    for second in range(1, 40):
        desk.hear(1, trades(second))
        desk.now_s += 0.05
    desk.wait(TAKEOVER_S - 1.9)
    reach = 39 - HELD_NS / SECOND_NS
    assert desk.seconds() == [0, *np.arange(reach, 40)]
    assert desk.gaps() == [(0, reach - 1, 0)]


def test_an_earlier_source_is_published_again_after_a_while_of_data() -> None:
    desk = Desk()
    desk.hear(0, trades(0))
    desk.hear(1, trades(0))
    desk.wait(4)
    desk.hear(1, trades(4))
    desk.wait(0)
    assert desk.failover.active == 1
    for second in range(5, 40):
        desk.hear(0, trades(second))
        desk.hear(1, trades(second + 0.5))
        desk.wait(1)
        assert desk.failover.active == (0 if second - 5 + 1 > RETURN_S else 1), second
    seconds = desk.seconds()
    assert seconds == sorted(set(seconds))


def test_an_open_socket_without_data_is_no_health_and_a_clock_never_goes_back() -> None:
    desk = Desk()
    desk.hear(0, trades(0))
    desk.hear(0, clock(1))
    desk.hear(1, trades(0.5))
    for second in (2, 3, 4, 5):
        desk.wait(1)
        desk.hear(0, clock(second))
        desk.hear(1, trades(second))
    desk.wait(0)
    assert desk.failover.active == 1
    desk.hear(1, clock(4))
    desk.hear(1, clock(6))
    clocks = [int(one.columns["ts_ns"][0]) for one in desk.said if one.kind == "clock"]
    assert clocks == sorted(set(clocks))


def test_all_silent_changes_nothing() -> None:
    desk = Desk(3)
    desk.hear(0, trades(0))
    desk.hear(1, trades(0))
    desk.wait(60)
    assert desk.failover.active == 0
    assert desk.gaps() == []


def test_sources_must_be_of_one_speed() -> None:
    slow = Told("slow")
    slow.speed = 1.0
    with pytest.raises(ProviderError, match="one speed"):
        Failover([Told("a"), slow])


class Broken(Told):
    """A provider whose key is wrong."""

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        raise Dropped("alpaca", "402")


class Short(Told):
    """A provider that says three things and ends."""

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        yield from (trades(1), trades(2), clock(3))


async def test_a_source_that_is_given_up_leaves_the_others() -> None:
    failover = Failover([Broken("a"), Short("b")])
    async with (
        asyncio.timeout(20),
        contextlib.aclosing(failover.batches(asyncio.Event())) as batches,
    ):
        found = [one async for one in batches]
    assert [one.kind for one in found if one.kind != "gaps"] == ["trades", "trades", "clock"]


async def test_when_all_are_given_up_the_feed_ends_with_the_reason() -> None:
    failover = Failover([Broken("a"), Broken("b")])
    with pytest.raises(Dropped, match="402"):
        async with contextlib.aclosing(failover.batches(asyncio.Event())) as batches:
            async for _ in batches:
                pass


# -- two connections to one feed


@dataclass
class Address:
    """What a provider says it is a connection to."""

    source: str


def prints(symbol: str, *told: tuple[int, float]) -> Batch:
    """Trades by number and second."""
    batch = trades(*(second for _, second in told))
    columns = {**batch.columns, "id": np.array([number for number, _ in told])}
    return Batch("trades", columns, [symbol], batch.index)


class OneFeed(Desk):
    """Two connections to one feed, of trades with ids."""

    def __init__(self, name: str = "alpaca", *addresses: str) -> None:
        super().__init__()
        providers = [Told(name), Told(name)]
        for one, source in zip(providers, addresses or (name, f"{name}#2"), strict=True):
            one.universe = Address(source)  # type: ignore[attr-defined]
        self.failover = Failover(providers, lambda: self.now_s)

    def take_over(self) -> None:
        self.now_s += TAKEOVER_S + 0.1
        self.failover._sources[1].heard_s = self.now_s
        self.wait(0)
        assert self.failover.active == 1

    def ids(self, symbol: str = "A") -> list[int]:
        return [
            number
            for one in self.said
            if one.kind == "trades" and one.symbols == [symbol]
            for number in one.columns["id"].tolist()
        ]


@pytest.mark.parametrize("name", ["alpaca", "binance"])
def test_prints_of_one_time_that_a_takeover_cuts_apart_come_once_each(name: str) -> None:
    desk = OneFeed(name)
    desk.hear(1, prints("A", (1, 1), (2, 1), (3, 1), (4, 1), (5, 2)))
    desk.hear(0, prints("A", (1, 1), (2, 1)))
    desk.take_over()
    assert desk.ids() == [1, 2, 3, 4, 5]
    assert [one[2] for one in desk.gaps()] == [1]


@pytest.mark.parametrize("name", ["alpaca", "binance"])
def test_a_print_older_than_the_newest_one_is_not_lost_at_a_seam(name: str) -> None:
    desk = OneFeed(name)
    desk.hear(1, prints("A", (1, 1), (2, 2), (3, 1.5), (4, 3)))
    desk.hear(0, prints("A", (1, 1), (2, 2)))
    desk.take_over()
    assert desk.ids() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["alpaca", "binance"])
def test_a_source_that_is_behind_does_not_tell_again_what_was_published(name: str) -> None:
    desk = OneFeed(name)
    desk.hear(1, prints("A", (1, 1)))
    desk.hear(0, prints("A", (1, 1), (2, 2), (3, 3)))
    desk.take_over()
    for number in range(2, 9):
        desk.hear(1, prints("A", (number, number)))
    assert desk.ids() == list(range(1, 9))


def test_where_numbers_are_missing_at_a_seam_it_is_a_gap_of_that_symbol() -> None:
    desk = OneFeed("binance")
    for place in (0, 1):
        desk.hear(place, prints("A", (1, 1)))
    desk.hear(0, prints("A", (2, 2)))
    desk.hear(0, prints("B", (7, 2)))
    desk.hear(1, prints("A", (5, 4)))
    desk.hear(1, prints("B", (8, 4)))
    desk.take_over()
    told = {
        symbol: (begin, end, is_repaired)
        for one in desk.said
        if one.kind == "gaps"
        for symbol, begin, end, is_repaired in zip(
            [one.symbols[place] for place in one.index.tolist()],
            ((one.columns["from_ns"] - T0) / SECOND_NS).tolist(),
            ((one.columns["to_ns"] - T0) / SECOND_NS).tolist(),
            one.columns["repaired"].tolist(),
            strict=True,
        )
    }
    assert told == {"A": (2, 4, 0), "B": (2, 2, 1)}


def test_numbers_that_follow_show_that_nothing_is_missing_though_the_hold_began_later() -> None:
    desk = OneFeed("binance")
    desk.hear(0, prints("A", (1, 1)))
    desk.now_s += 3.5
    desk.hear(1, prints("A", (2, 5)))
    desk.wait(0.1)
    assert desk.gaps() == [(1, 1, 1)]
    assert desk.ids() == [1, 2]


@pytest.mark.parametrize(
    "addresses", [("binance", "binance#2"), ("alpaca://sip", "alpaca://iex"), ("", "")]
)
def test_two_that_tell_trades_apart_are_cut_by_time(addresses: tuple[str, str]) -> None:
    desk = OneFeed("binance", *addresses)
    desk.hear(1, prints("A", (101, 1), (102, 2), (103, 3)))
    desk.hear(0, prints("A", (1, 1), (2, 2.5)))
    desk.take_over()
    assert desk.ids() == [1, 2, 103]


@pytest.mark.parametrize("name", ["alpaca", "binance"])
@pytest.mark.parametrize("seed", range(8))
def test_however_a_connection_is_cut_all_that_the_other_has_comes_once(
    name: str, seed: int
) -> None:
    market = random.Random(seed)
    desk = OneFeed(name)
    count, cut = 400, market.randrange(150, 250)
    lag = market.randrange(60 if name == "binance" else 20)  # ids without order tell less far back
    told = [
        (number, round(number / 20) + market.choice((0, 0, -0.5))) for number in range(1, count)
    ]
    for place, one in enumerate(told):
        if place < cut:
            desk.hear(0, prints("A", one))
        if place >= lag:
            desk.hear(1, prints("A", told[place - lag]))
        if place == cut + 5:
            desk.take_over()
    assert sorted(desk.ids()) == list(range(1, count - lag))


def test_a_symbol_that_is_moved_to_a_connection_to_the_same_feed_is_cut_by_its_trades() -> None:
    desk = OneFeed("binance")
    second = 0.0
    number = {"A": 0, "B": 0}
    for step in range(120):
        second = step // 4 / 4 * 4  # four prints of one time
        for symbol in "AB":
            number[symbol] += 1
            one = prints(symbol, (number[symbol], second))
            desk.hear(1, one)
            if symbol == "A" or step < 42:
                desk.hear(0, one)
        desk.wait(0.25)
    assert desk.failover.healths()[0].reason == "1 symbols from binance"
    for symbol in "AB":
        assert desk.ids(symbol) == list(range(1, 121))


# -- how it is


def state(desk: Desk) -> tuple[str, str]:
    (health,) = desk.failover.healths()
    return health.source, health.state


def test_whose_events_are_published_and_why_is_told() -> None:
    desk = Desk()
    assert state(desk) == ("s0", "starting")
    desk.hear(0, trades(0))
    desk.hear(1, trades(0))
    assert state(desk) == ("s0", "ok")
    desk.wait(TAKEOVER_S + 0.1)
    desk.hear(1, trades(4))
    desk.wait(0.1)
    assert state(desk) == ("s1", "standby")
    (told,) = desk.failover.healths()
    assert told.reason == "no data from s0"
    assert desk.failover.healths() == [told]  # since then
    for second in range(5, 5 + int(RETURN_S) + 2):
        desk.hear(0, trades(second))
        desk.hear(1, trades(second))
        desk.wait(1)
    assert state(desk) == ("s0", "ok")


@pytest.mark.parametrize(("is_open", "state_told"), [(True, "lost"), (False, "ok")])
def test_silence_of_all_is_a_loss_only_while_somebody_could_speak(
    is_open: bool, state_told: str
) -> None:
    desk = Desk()
    for one in desk.failover.providers:
        one.open_between = lambda *_: is_open  # type: ignore[attr-defined]
    desk.failover._connections = [
        Connection(one, asyncio.Event()) for one in desk.failover.providers
    ]
    desk.hear(0, trades(0))
    desk.hear(1, trades(0))
    desk.wait(TAKEOVER_S + 1)
    assert state(desk) == ("s0", state_told)


def test_a_connection_tells_its_drop_until_something_comes() -> None:
    provider = Told("alpaca")
    provider.batches = lambda _: iter(said.pop(0))  # type: ignore[method-assign]

    def dropping() -> Iterator[Batch]:
        yield trades(0)
        raise Dropped("alpaca", "406")

    said = [dropping(), iter([trades(5)])]
    connection = Connection(provider, asyncio.Event(), draw=lambda *_: 0.0)
    found = []

    async def read() -> None:
        async for batch in connection.batches():
            found.append((batch.kind, connection.health.state))

    asyncio.run(read())
    assert found == [("trades", "ok"), ("gaps", "lost"), ("gaps", "ok"), ("trades", "ok")]


def test_a_gap_begins_with_the_newest_event_where_the_clock_went_on_without_any() -> None:
    provider = Told("alpaca")
    provider.batches = lambda _: iter(said.pop(0))  # type: ignore[method-assign]
    asked = []

    def again(from_ns: int, to_ns: int) -> Iterator[Batch]:
        asked.append(((from_ns - T0) / SECOND_NS, (to_ns - T0) / SECOND_NS))
        yield trades(2)

    provider.again = again  # type: ignore[attr-defined]

    def mute() -> Iterator[Batch]:
        yield trades(1)
        yield clock(20)  # after the wall
        raise Dropped("alpaca", "mute")

    said = [mute(), iter([trades(30)])]
    connection = Connection(provider, asyncio.Event(), draw=lambda *_: 0.0)

    async def read() -> None:
        async for _ in connection.batches():
            pass

    asyncio.run(read())
    assert asked == [(1, 30)]


def test_prints_of_the_times_at_which_a_gap_begins_and_ends_come_once_each() -> None:
    def again(*_: int) -> Iterator[Batch]:
        yield prints("A", (1, 1), (2, 0.5), (3, 1), (4, 2), (5, 3), (6, 3), (7, 3.5))

    def dropping() -> Iterator[Batch]:
        yield prints("A", (1, 1))
        raise Dropped("alpaca", "closed")

    provider = Told("alpaca")
    said = [dropping(), iter([prints("A", (6, 3)), prints("A", (7, 3.5), (8, 4))])]
    provider.batches = lambda _: iter(said.pop(0))  # type: ignore[method-assign]
    provider.again, provider.overlaps = again, True  # type: ignore[attr-defined]
    connection = Connection(provider, asyncio.Event(), draw=lambda *_: 0.0)

    async def read() -> list[int]:
        found = []
        async for batch in connection.batches():
            found += batch.columns["id"].tolist() if batch.kind == "trades" else []
        return found

    assert sorted(asyncio.run(read())) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_gaps_that_are_filled_at_once_are_filled_once_each() -> None:
    overlap = Overlap()
    assert overlap.came(prints("A", (1, 10))) is not None
    first = overlap.begin(T0 + 10 * SECOND_NS, T0 + 12 * SECOND_NS)
    assert ids(overlap.came(prints("A", (2, 12), (3, 13)))) == [2, 3]
    second = overlap.begin(T0 + 13 * SECOND_NS, T0 + 15 * SECOND_NS)
    assert ids(overlap.new(prints("A", (1, 10), (10, 11), (2, 12), (3, 13), (4, 13.5)))) == [10, 4]
    first.is_filled = True
    assert ids(overlap.new(prints("A", (2, 12), (3, 13), (4, 13.5), (5, 14)))) == [5]
    assert ids(overlap.came(prints("A", (6, 15), (7, 16)))) == [6, 7]
    assert ids(overlap.new(prints("A", (6, 15), (7, 16)))) == []
    second.is_filled = True
    assert ids(overlap.came(prints("A", (8, 30)))) == [8]
    assert overlap._gaps == []


def ids(batch: Batch | None) -> list[int]:
    return [] if batch is None else batch.columns["id"].tolist()


async def test_a_source_that_fails_as_nobody_foresaw_is_given_up_and_the_last_one_says_so() -> None:
    def failing(name: str) -> Told:
        def broken() -> Iterator[Batch]:
            yield prints("A", (1, 1))
            raise KeyError("what nobody foresaw")

        provider = Told(name)
        provider.batches = lambda _: broken()  # type: ignore[method-assign]
        return provider

    both = Failover([failing("first"), failing("second")])
    with pytest.raises(KeyError, match="nobody foresaw"):
        async with asyncio.timeout(20):
            async for _ in both.batches(asyncio.Event()):
                pass


# -- how far they disagree


def gauge(metric: Any, *labels: str) -> float:
    return float(metric.labels(*labels)._value.get())


def priced(second: float, prices: dict[str, float], size: float = 1.0) -> Batch:
    ts_ns = np.full(len(prices), T0 + int(second * SECOND_NS))
    columns = {"ts_ns": ts_ns, "price": np.array(list(prices.values()))}
    columns["size"] = np.full(len(prices), size)
    return Batch("trades", columns, list(prices), np.arange(len(prices)))


def test_the_share_of_symbols_whose_last_prices_differ() -> None:
    found = Disagreement(["one", "two"], Places())
    found.hear(0, priced(1, {"A": 100.0, "B": 10.0, "C": 1.0, "OLD": 5.0}))
    found.hear(0, priced(7, {"A": 100.0, "B": 10.0, "C": 1.0}))
    found.hear(1, priced(1, {"OLD": 9.0}))
    found.hear(1, priced(6, {"C": 1.0, "B": 10.02, "A": 100.09, "ALONE": 3.0}))
    assert found.price_share(0, 1, T0 + 7 * SECOND_NS) == pytest.approx(1 / 3)  # B: 0.2 %
    found.measure(0)
    assert gauge(telemetry.FEED_PRICE_DISAGREEMENT, "two", "one") == pytest.approx(1 / 3)
    assert found.price_share(0, 1, T0 + 60 * SECOND_NS) is None


def test_the_volume_of_the_last_whole_minute_of_each() -> None:
    found = Disagreement(["one", "two"], Places())
    start = -T0 % (60 * SECOND_NS) / SECOND_NS  # the next minute
    for source, size in ((0, 4.0), (1, 1.0)):
        found.hear(source, priced(start + 1, {"A": 1.0}, size))
        found.hear(source, priced(start + 59, {"A": 1.0}, size))
    assert found.volume_ratio(0, 1) is None
    found.hear(0, priced(start + 61, {"A": 1.0}, 1000.0))
    assert found.volume_ratio(0, 1) is None  # the other is not there yet
    found.hear(1, priced(start + 62, {"A": 1.0}))
    assert found.volume_ratio(0, 1) == 0.25
    found.hear(1, priced(start + 190, {"A": 1.0}))
    found.hear(0, priced(start + 190, {"A": 1.0}))
    assert found.volume_ratio(0, 1) is None  # no volume in the minute before


def test_two_sources_of_one_name_are_told_apart() -> None:
    found = Disagreement(["alpaca", "alpaca"], Places())
    found.hear(0, priced(1, {"A": 1.0}))
    found.hear(1, priced(1, {"A": 2.0}))
    found.measure(0)
    assert gauge(telemetry.FEED_PRICE_DISAGREEMENT, "alpaca#2", "alpaca") == 1.0


# -- by symbol


def of(symbol: str, *seconds: float, price: float = 1.0) -> Batch:
    batch = trades(*seconds, price=price)
    return Batch(batch.kind, batch.columns, [symbol], batch.index)


class BySymbol(Desk):
    """Two sources of A and B; event time and the wall's are one."""

    def __init__(self, apart_s: float = 0.01) -> None:
        super().__init__()
        self.second, self.apart_s = 0.0, apart_s  # by which the standby stamps a trade later

    def pass_seconds(self, seconds: int, first: str, second: str, per_s: int = 4) -> None:
        """Each symbol trades so often on each source that has it; the standby prints at prices of 2."""
        for _ in range(seconds * per_s):
            self.second = round(self.second + 1 / per_s, 6)
            for place, symbols in enumerate((first, second)):
                for symbol in symbols:
                    at = self.second + place * self.apart_s
                    self.hear(place, of(symbol, at, price=1.0 + place))
            self.wait(1 / per_s)

    def published(self, symbol: str) -> list[tuple[float, float]]:
        """(second, price) of the trades that were published of a symbol."""
        return [
            ((int(ts_ns) - T0) / SECOND_NS, float(price))
            for one in self.said
            if one.kind == "trades" and one.symbols == [symbol]
            for ts_ns, price in zip(one.columns["ts_ns"], one.columns["price"], strict=True)
        ]

    def gaps_of(self) -> list[tuple[list[str], float, float, int]]:
        return [
            (one.symbols, (a - T0) / SECOND_NS, (b - T0) / SECOND_NS, int(done))
            for one in self.said
            if one.kind == "gaps"
            for a, b, done in zip(
                one.columns["from_ns"].tolist(),
                one.columns["to_ns"].tolist(),
                one.columns["repaired"].tolist(),
                strict=True,
            )
        ]


def test_a_symbol_that_one_source_lost_comes_from_the_other_and_back() -> None:
    desk = BySymbol()
    desk.pass_seconds(10, "AB", "AB")
    desk.pass_seconds(8, "A", "AB")
    assert desk.failover.active == 0
    (health,) = desk.failover.healths()
    assert (health.state, health.reason) == ("ok", "1 symbols from s1")
    lost_at = 10.0
    assert desk.gaps_of() == [(["B"], lost_at, lost_at, 1)]
    found = desk.published("B")
    assert [price for at, price in found if at <= lost_at] == [1.0] * 40
    assert [at for at, price in found if price == 2.0] == [
        round(lost_at + k / 4 + 0.01, 2) for k in range(33)
    ]  # from its print just after the last one on, each once
    assert {price for _, price in desk.published("A")} == {1.0}
    desk.pass_seconds(int(RETURN_S) + 3, "AB", "AB")
    desk.pass_seconds(3, "AB", "AB")
    assert desk.failover.healths()[0].reason == ""
    found = desk.published("B")
    assert [price for at, price in found if at > desk.second - 2] == [1.0] * 8
    times = [at for at, _ in found]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert max(b - a for a, b in pairwise(times)) < 0.3


def test_a_symbol_is_back_only_once_it_has_been_traded_for_long_without_a_break() -> None:
    desk = BySymbol()
    desk.pass_seconds(10, "AB", "AB")
    desk.pass_seconds(8, "A", "AB")
    for _ in range(3):
        desk.pass_seconds(20, "AB", "AB")
        assert desk.failover.healths()[0].reason == "1 symbols from s1"
        desk.pass_seconds(8, "A", "AB")
    assert len(desk.gaps_of()) == 1
    desk.pass_seconds(int(RETURN_S) + 2, "AB", "AB")
    assert desk.failover.healths()[0].reason == ""


def test_a_thin_symbol_is_not_taken_over() -> None:
    desk = BySymbol()
    for _ in range(20):  # one in twenty of the standby's prints of B is on the first source
        desk.pass_seconds(1, "AB", "AB", per_s=1)
        desk.pass_seconds(5, "A", "AB")
    assert desk.gaps_of() == []


def test_a_symbol_that_the_first_source_never_sends_comes_from_the_other() -> None:
    desk = BySymbol()
    desk.pass_seconds(29, "A", "AB")
    assert desk.published("B") == []
    desk.pass_seconds(3, "A", "AB")
    assert desk.published("B")
    assert {price for _, price in desk.published("B")} == {2.0}


def test_when_the_whole_feed_is_taken_over_no_symbol_is_moved() -> None:
    desk = BySymbol()
    desk.pass_seconds(10, "AB", "AB")
    desk.pass_seconds(8, "A", "AB")
    desk.pass_seconds(6, "", "AB")
    assert desk.failover.active == 1
    assert desk.failover.healths()[0].state == "standby"
    for symbol in "AB":
        times = [at for at, _ in desk.published(symbol)]
        assert times == sorted(set(times))
        assert max(b - a for a, b in pairwise(times)) < 0.3


@pytest.mark.parametrize("seed", range(12))
def test_whatever_falls_silent_nothing_comes_twice_or_out_of_order(seed: int) -> None:
    market = random.Random(seed)
    desk = BySymbol(apart_s=0.0)
    desk.pass_seconds(10, "ABC", "ABC")
    for _ in range(12):
        has = ["".join(one for one in "ABC" if market.random() < 0.7) for _ in range(2)]
        desk.pass_seconds(market.choice((1, 3, 8, 40)), *has)
    for symbol in "ABC":
        times = [at for at, _ in desk.published(symbol)]
        assert times == sorted(set(times)), symbol
