"""Cases 60 to 67 at the door: several sources, drops, silence, twins, bursts, and symbols that come and go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import telemetry
from runtime.bus import Bus, BusError
from runtime.connections import Connection
from runtime.frames import Frame, decode
from runtime.ingest import Ingest, run_ingest
from runtime.providers import Batch, ProviderError, clock_batch
from runtime.providers.losses import QUOTES, TRADES
from runtime.providers.trouble import AGAIN, BACK_OFF, GIVE_UP, Dropped, decision, longest_wait_s
from runtime.shedding import Shedder
from runtime.sources import Sources, Watermarks
from runtime.subjects import Subjects
from tests.cases.exchange import SECOND_NS, at
from tests.conftest import Nats

TEN = at(2026, 1, 6, 10, 0)


def prints(*seconds: float, symbol: str = "A") -> Batch:
    times = np.array([TEN + int(second * SECOND_NS) for second in seconds])
    columns = {"ts_ns": times, "price": np.full(len(times), 9.0), "size": np.ones(len(times))}
    return Batch("trades", columns, [symbol], np.zeros(len(times), dtype=np.int64))


def quotes(second: float, symbols: list[str]) -> Batch:
    some = np.arange(len(symbols))
    columns = {name: np.ones(len(some)) for name in ("bid", "ask", "bid_size", "ask_size")}
    columns["ts_ns"] = np.full(len(some), TEN + int(second * SECOND_NS))
    return Batch("quotes", columns, symbols, some)


def clock(second: int) -> Batch:
    return clock_batch(np.array([TEN + second * SECOND_NS]))


class Scripted:
    """A provider whose connections do as they are told: what each sends, and how it ends."""

    speed, warm_ns = 0.0, 0

    def __init__(self, *connections: list[Any], name: str = "alpaca") -> None:
        self.connections, self.name = list(connections), name
        self.asked: list[int] = []

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        self.asked.append(after_ns)
        for one in self.connections.pop(0):
            if isinstance(one, str):
                raise Dropped(self.name, one)
            if isinstance(one, threading.Event):
                one.wait()  # a socket that is open and says nothing
            else:
                yield one


class Sending(Scripted):
    """One that can send a past time again."""

    def again(self, from_ns: int, to_ns: int) -> Iterator[Batch]:
        yield prints((from_ns - TEN) / SECOND_NS + 1)


async def heard(provider: Any, longest: list[float] | None = None) -> list[Batch]:
    waits = [] if longest is None else longest

    def draw(_: float, most: float) -> float:
        waits.append(most)
        return 0.0

    found = Connection(provider, asyncio.Event(), draw).batches()
    return [batch async for batch in found]


def told(batches: list[Batch]) -> list[tuple[Any, ...]]:
    """What came: the kind, and of gaps (second from, second to or None, repaired)."""
    found: list[tuple[Any, ...]] = []
    for batch in batches:
        if batch.kind != "gaps":
            found.append((batch.kind, (int(batch.times[0]) - TEN) // SECOND_NS))
            continue
        from_ns, to_ns, repaired = (int(batch.columns[name][0]) for name in ("from_ns", "to_ns", "repaired"))  # fmt: skip
        found.append(("gap", (from_ns - TEN) // SECOND_NS, (to_ns - TEN) // SECOND_NS if to_ns else None, repaired))  # fmt: skip
    return found


# -- 60


def test_case_60_the_slowest_source_moves_the_clock_until_it_is_idle() -> None:
    marks = Watermarks(idle_s=2.0)
    marks.hear(0, 0.0, 10)
    marks.hear(1, 0.0, 5)
    assert marks.advance(1.0) == 5
    marks.hear(0, 3.0, 20)
    assert marks.advance(3.0) == 20  # nothing of the other for three seconds
    marks.hear(1, 3.5, 7)
    assert marks.advance(3.5) == 20  # it is back, and the clock does not go back
    marks.hear(1, 4.0, 30)
    assert marks.advance(4.0) == 20


def test_case_60_a_source_that_ended_and_all_that_are_idle_stop_no_clock() -> None:
    marks = Watermarks(idle_s=2.0)
    marks.hear(0, 0.0, 10)
    marks.hear(1, 0.0, 5)
    marks.end(1)
    assert marks.advance(1.0) == 10
    marks.hear(0, 1.0, 12)
    assert marks.advance(100.0) == 12


async def test_case_60_a_dead_source_holds_up_neither_prints_nor_clock() -> None:
    silent = threading.Event()
    dead = Scripted([clock(0), prints(0), silent], name="dead")
    dead.mute_s = 60.0  # type: ignore[attr-defined]
    alive = Scripted([one for k in range(9) for one in (clock(k), prints(k + 0.5, symbol="B"))], name="alive")  # fmt: skip
    stopping = asyncio.Event()
    clock_ns, seen = 0, 0
    async for batch in Sources([dead, alive], idle_s=0.05).batches(stopping):
        clock_ns = batch.newest_ns if batch.kind == "clock" else clock_ns
        seen += batch.kind == "trades"
        if clock_ns == TEN + 8 * SECOND_NS and seen == 10:
            break
    silent.set()
    assert (clock_ns, seen) == (TEN + 8 * SECOND_NS, 10)


async def test_case_60_files_side_by_side_make_one_market(
    tmp_path: Path, nats: Nats, subjects: Subjects
) -> None:
    for name, symbol, seconds in (("a", "A", 3), ("b", "A", 200)):
        rows = [f"{symbol},{TEN + k * SECOND_NS},{9 + k},1" for k in range(seconds)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["symbol,ts_ns,price,size", *rows, ""]))
    urls = [f"file://{tmp_path}/{name}.csv?speed=max" for name in "ab"]
    from runtime.config import Settings

    await run_ingest(Settings(), subjects, nats.url, urls)
    partition = subjects_of(subjects, "A")
    trades = await frames(nats.bus, subjects, "ticks.trades", partition)
    clocks = await frames(nats.bus, subjects, "ticks.clock", partition)
    times = np.concatenate([frame["ts_ns"] for frame in clocks])
    assert sum(len(frame) for frame in trades) == 203
    assert (np.diff(times) > 0).all()
    assert times[-1] > TEN + 200 * SECOND_NS


def subjects_of(subjects: Subjects, symbol: str) -> int:
    from runtime.subjects import partition_of

    return partition_of(symbol, subjects.partitions)


async def frames(bus: Bus, subjects: Subjects, base: str, partition: int) -> list[Frame]:
    messages = await bus.history("MARKET", f"{base}.{partition}", 1000)
    return [decode(one.data, subjects.record_of(base)) for one in messages]


def test_case_60_sources_of_different_speed_are_refused() -> None:
    slow = Scripted()
    slow.speed = 1.0  # type: ignore[misc]
    with pytest.raises(ProviderError, match="one speed"):
        Sources([Scripted(), slow])


# -- 61


async def test_case_61_a_drop_is_a_gap_until_the_first_event_that_comes_again() -> None:
    provider = Scripted([clock(0), prints(0, 2), "closed"], [clock(5), prints(5), clock(6)])
    assert told(await heard(provider)) == [
        ("clock", 0),
        ("trades", 0),
        ("gap", 2, None, 0),
        ("clock", 5),
        ("gap", 2, 5, 0),
        ("trades", 5),
        ("clock", 6),
    ]
    assert provider.asked == [0, TEN + 2 * SECOND_NS]


async def test_case_61_what_can_be_sent_again_is_sent_before_the_gap_is_said_to_be_repaired() -> (
    None
):
    provider = Sending([prints(0, 2), "closed"], [prints(5), prints(6)])
    assert told(await heard(provider))[1:] == [
        ("gap", 2, None, 0),
        ("gap", 2, 5, 0),
        ("trades", 5),
        ("trades", 3),
        ("gap", 2, 5, 1),
        ("trades", 6),
    ]


async def test_case_61_drops_before_anything_came_again_are_one_gap() -> None:
    provider = Scripted([prints(0), "closed"], ["closed"], ["500"], [prints(9)])
    assert told(await heard(provider)) == [("trades", 0), ("gap", 0, None, 0), ("gap", 0, 9, 0), ("trades", 9)]  # fmt: skip


async def test_case_61_what_is_known_beside_the_ticks_ends_no_gap() -> None:
    columns = {
        "ts_ns": np.array([1]),
        "name": np.array(["float"], dtype=object),
        "value": np.ones(1),
    }
    known = Batch("reference", columns, ["Z"], np.zeros(1, dtype=np.int64))
    feed = Sending([clock(0), known, prints(0), "closed"], [clock(5), known, prints(5)])
    batches = await heard(feed)
    assert [one for one in told(batches) if one[0] != "reference"] == [
        ("clock", 0),
        ("trades", 0),
        ("gap", 0, None, 0),
        ("clock", 5),
        ("gap", 0, 5, 0),
        ("trades", 5),
        ("trades", 1),
        ("gap", 0, 5, 1),
    ]
    assert [one.kind for one in batches].count("reference") == 2
    assert {one.symbols[k] for one in batches if one.kind == "gaps" for k in one.index} == {"A"}  # type: ignore[union-attr]


async def test_case_61_the_gap_names_every_symbol_that_was_sent_and_no_other() -> None:
    provider = Scripted([prints(0), prints(0, symbol="B"), "closed"], [prints(2, symbol="C")])
    gaps = [one for one in await heard(provider) if one.kind == "gaps"]
    assert [[one.symbols[k] for k in one.index] for one in gaps] == [["A", "B"], ["A", "B"]]  # type: ignore[union-attr]
    assert (gaps[0].columns["what"] == TRADES | QUOTES).all()


async def test_case_61_a_gap_is_published_where_its_symbols_are(
    nats: Nats, subjects: Subjects
) -> None:
    await Ingest(nats.bus, subjects, Scripted([clock(0), prints(0), "closed"], [prints(3)])).run()
    found = await frames(nats.bus, subjects, "ticks.gaps", subjects_of(subjects, "A"))
    assert [frame["to_ns"].tolist() for frame in found] == [[0], [TEN + 3 * SECOND_NS]]


def test_case_61_a_hole_in_the_numbers_of_a_feed_that_has_none_is_a_gap(tmp_path: Path) -> None:
    from runtime.providers.file import FileProvider

    path = tmp_path / "trades.csv"
    rows = [(0, 1), (1, 2), (2, 5), (4, 4), (5, 6), (6, 9)]  # 3 is missing, 4 was late, 7 and 8
    lines = [f"A,{TEN + second * SECOND_NS},9,1,{number}" for second, number in rows]
    path.write_text("\n".join(["symbol,ts_ns,price,size,id", *lines, ""]))
    events = [one for one in FileProvider([path], 0.0, source="binance").batches() if one.kind != "clock"]  # fmt: skip
    gaps = [one for one in told(events) if one[0] == "gap"]
    assert gaps == [("gap", 1, 4, 0), ("gap", 5, 6, 0)]
    assert sum(len(one) for one in events if one.kind == "trades") == len(rows)
    assert told(list(FileProvider([path], 0.0).batches()))[-1][0] == "clock"
    assert not [one for one in FileProvider([path], 0.0).batches() if one.kind == "gaps"]


# -- 62


async def test_case_62_a_socket_that_says_nothing_is_left_and_opened_again() -> None:
    silent = threading.Event()
    provider = Scripted([prints(0), silent], [prints(7)])
    provider.mute_s = 0.05  # type: ignore[attr-defined]
    before = telemetry.DROPS.labels("alpaca", "mute")._value.get()
    assert told(await heard(provider)) == [("trades", 0), ("gap", 0, None, 0), ("gap", 0, 7, 0), ("trades", 7)]  # fmt: skip
    assert telemetry.DROPS.labels("alpaca", "mute")._value.get() == before + 1
    silent.set()


async def test_case_62_whoever_was_to_stop_does_not_open_again() -> None:
    stopping = asyncio.Event()
    provider = Scripted([prints(0), "closed"], [prints(1)])
    stopping_after = Connection(provider, stopping).batches()
    async for batch in stopping_after:
        if batch.kind == "gaps":
            stopping.set()
    assert len(provider.asked) == 1


# -- 63, 64


@pytest.mark.parametrize(
    ("vendor", "code", "then"),
    [
        ("alpaca", "407", AGAIN),
        ("massive", "slow_consumer", AGAIN),
        ("databento", "7", AGAIN),
        ("alpaca", "1006", AGAIN),
    ],
)
async def test_case_63_a_reader_that_was_too_slow_has_a_gap(
    vendor: str, code: str, then: str
) -> None:
    assert decision(vendor, code) == then
    provider = Scripted([prints(0), code], [prints(2)], name=vendor)
    assert ("gap", 0, None, 0) in told(await heard(provider))


@pytest.mark.parametrize(
    ("vendor", "code"),
    [("alpaca", "406"), ("massive", "max_connections"), ("massive", "force_disconnect"), ("databento", "3")],
)  # fmt: skip
async def test_case_64_a_twin_on_our_key_is_not_fought(vendor: str, code: str) -> None:
    assert decision(vendor, code) == BACK_OFF
    waits: list[float] = []
    await heard(Scripted([prints(0), code], [prints(2)], name=vendor), waits)
    assert waits == [30.0]


@pytest.mark.parametrize(
    ("vendor", "code"),
    [("alpaca", "402"), ("alpaca", "409"), ("massive", "auth_failed"), ("databento", "1")],
)
async def test_case_64_a_wrong_key_is_given_up(vendor: str, code: str) -> None:
    assert decision(vendor, code) == GIVE_UP
    provider = Scripted([code], [prints(0)], name=vendor)
    with pytest.raises(ProviderError, match=f"{vendor}: the connection ended: {code}"):
        await heard(provider)


async def test_case_64_ingest_ends_with_the_code_of_a_key_that_is_refused(
    subjects: Subjects,
) -> None:
    ingest = Ingest(SlowBus(), subjects, Scripted(["402"]))  # type: ignore[arg-type]
    with pytest.raises(BusError, match="alpaca: the connection ended: 402"):
        await ingest.run()


async def test_case_64_waits_grow_to_half_a_minute() -> None:
    waits: list[float] = []
    await heard(Scripted(*[["closed"]] * 9, [prints(0)]), waits)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert longest_wait_s(AGAIN, 5_000) == 30.0


# -- 65


class Burst:
    """A second of quotes and trades, many frames of each."""

    name, speed, warm_ns = "burst", 1e9, 0

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        yield clock(0)
        for k in range(200):
            yield quotes(1 + k / 1000, ["A", "B"])
            yield prints(1 + k / 1000)
        yield clock(2)


class SlowBus:
    """A bus that stores nothing before it is told to; what it stored, in order."""

    connected = False

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.stored: list[tuple[str, bytes]] = []

    async def put(self, subject: str, data: bytes, headers: Any = None, message_id: str = "") -> None:  # fmt: skip
        await self.opened.wait()
        self.stored.append((subject, data))


async def published(subjects: Subjects, late_s: float) -> list[tuple[str, Frame]]:
    bus = SlowBus()
    ingest = Ingest(bus, subjects, Burst(), late_s=late_s)  # type: ignore[arg-type]
    running = asyncio.create_task(ingest.run())
    while not any(queue.full() for queue in ingest._queues) and not running.done():
        await asyncio.sleep(0)
    bus.opened.set()
    await running
    found = []
    for subject, data in bus.stored:
        base = subject.rpartition(".")[0]
        if base != "alerts":
            found.append((base, decode(data, subjects.record_of(base))))
    return found


async def test_case_65_quotes_are_shed_first_trades_never_and_the_gap_is_said(
    subjects: Subjects,
) -> None:
    counter = telemetry.SHED.labels("burst", "quotes")._value
    before = counter.get()
    found = await published(subjects, late_s=-1.0)
    rows = {base: sum(len(one) for of, one in found if of == base) for base, _ in found}
    assert rows["ticks.trades"] == 200
    assert rows["ticks.quotes"] + counter.get() - before == 400
    assert counter.get() > before
    gaps = [frame for base, frame in found if base == "ticks.gaps"]
    assert {symbol for frame in gaps for symbol in frame["symbol"]} == {
        "A"
    }  # B's partition was not full
    assert all((frame["what"] == QUOTES).all() for frame in gaps)


async def test_case_65_whoever_is_not_late_sheds_nothing(subjects: Subjects) -> None:
    found = await published(subjects, late_s=60.0)
    assert sum(len(frame) for base, frame in found if base == "ticks.quotes") == 400
    assert "ticks.gaps" not in {base for base, _ in found}


def test_case_65_what_was_shed_is_said_once_from_its_first_quote_to_its_last() -> None:
    shedder = Shedder(late_s=0.5, queued_max=2)
    frame = Frame({"ts_ns": np.array([TEN, TEN + 5])}, ["A", "B", "C"], np.array([0, 2]))
    assert not shedder.sheds("ticks.quotes", frame, 0.5, 9)
    assert not shedder.sheds("ticks.quotes", frame, 9.0, 1)
    assert not shedder.sheds("ticks.trades", frame, 9.0, 9)
    assert shedder.told("x") is None
    assert shedder.sheds("ticks.quotes", frame, 0.6, 2)
    gap = shedder.told("x")
    assert gap is not None
    assert gap["symbol"].tolist() == ["A", "C"]
    assert (gap["from_ns"].tolist(), gap["to_ns"].tolist()) == ([TEN] * 2, [TEN + 6] * 2)
    assert shedder.told("x") is None


# -- 66


async def test_case_66_symbols_that_come_during_the_day_are_published_and_gapped_with_the_rest(
    nats: Nats, subjects: Subjects
) -> None:
    table = ["A"]

    class Growing(Scripted):
        def batches(self, after_ns: int = 0) -> Iterator[Batch]:
            for batch in super().batches(after_ns):
                if batch.kind == "trades":
                    yield Batch("trades", batch.columns, table, np.full(len(batch), len(table) - 1))
                    table.append("NEW")
                else:
                    yield batch

    provider = Growing([clock(0), prints(0), prints(1), "closed"], [clock(2), clock(3)])
    assert next(one for one in await heard(provider) if one.kind == "gaps").symbols == ["A", "NEW"]
    await Ingest(nats.bus, subjects, Scripted([clock(0), prints(0, symbol="NEW")])).run()
    found = await frames(nats.bus, subjects, "ticks.trades", subjects_of(subjects, "NEW"))
    assert found[0]["symbol"].tolist() == ["NEW"]
