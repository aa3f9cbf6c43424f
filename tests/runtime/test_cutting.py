"""How ingest cuts batches into frames: nothing twice, nothing lost, in order, and nothing waits for what may never come."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.frames import Frame
from runtime.ingest import Ingest, Splitter
from runtime.providers import SECOND_NS, Batch, clock_batch
from runtime.subjects import Subjects, load_subjects, partition_of
from tests.conftest import ROOT, Nats

T0_NS = 1_767_623_400 * SECOND_NS
ALL_SUBJECTS = load_subjects(ROOT / "subjects.yaml")
SYMBOLS = [f"S{number}" for number in range(20)]


def trades(at: list[float], places: list[int], table: list[str], **more: Any) -> Batch:
    times = np.array([T0_NS + int(second * SECOND_NS) for second in at], dtype=np.int64)
    columns = {"ts_ns": times, "price": np.arange(1.0, len(at) + 1), "size": np.ones(len(at))}
    return Batch("trades", columns | more, table, np.array(places, dtype=np.int64))


def clock(second: float) -> Batch:
    return clock_batch(np.array([T0_NS + int(second * SECOND_NS)]))


def cut(splitter: Splitter, batches: list[Batch], flushed: int = 0) -> list[tuple[int, str, Frame]]:
    """What comes out, with a flush after every `flushed` batches and at the end."""
    found = []
    for number, batch in enumerate(batches, 1):
        found += list(splitter.split(batch))
        if flushed and number % flushed == 0:
            found += list(splitter.flush())
    found += list(splitter.flush())
    return [(one.partition, one.base, one.frame) for one in found]


def test_what_came_before_the_clock_is_not_published_again(subjects: Subjects) -> None:
    there = partition_of("S0", subjects.partitions)
    splitter = Splitter(subjects, "x", after_ns={there: T0_NS + SECOND_NS})
    found = cut(splitter, [trades([0.5], [0], SYMBOLS), clock(1), trades([1.5], [0], SYMBOLS)])
    kept = [frame["ts_ns"].tolist() for _, base, frame in found if base == "ticks.trades"]
    assert kept == [[T0_NS + SECOND_NS * 3 // 2]]


def test_a_column_that_one_of_two_batches_lacks_is_kept(subjects: Subjects) -> None:
    said = trades([0.1], [0], SYMBOLS, upd=np.array([3], dtype=np.uint8))
    found = cut(Splitter(subjects, "x"), [trades([0.0], [0], SYMBOLS), said])
    assert ["upd" in frame.columns for _, _, frame in found] == [False, True]


batches_made = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([0, 1]),  # table
            st.booleans(),  # with `upd`
            st.lists(st.integers(0, len(SYMBOLS) - 1), min_size=1, max_size=5),
        ),
        st.none(),  # a clock event
    ),
    max_size=30,
)


@settings(deadline=None)
@given(batches_made, st.integers(0, 3))
def test_cut_as_one_or_alone_every_partition_gets_the_same_rows_in_order(
    told: list[tuple[int, bool, list[int]] | None], flushed: int
) -> None:
    subjects = ALL_SUBJECTS
    tables = [list(SYMBOLS), list(reversed(SYMBOLS))]
    batches: list[Batch] = []
    wanted: dict[int, list[Any]] = {}
    number = 0
    for one in told:
        number += 1
        if one is None:
            batches.append(clock(number))
            for partition in range(subjects.partitions):
                row = ("ticks.clock", T0_NS + number * SECOND_NS, "", None)
                wanted.setdefault(partition, []).append(row)
            continue
        table, has_upd, places = one
        at = [number + k / 100 for k in range(len(places))]
        more = {"upd": np.full(len(places), number, dtype=np.uint8)} if has_upd else {}
        batches.append(trades(at, places, tables[table], **more))
        for second, place in zip(at, places, strict=True):
            symbol = tables[table][place]
            row = (
                "ticks.trades",
                T0_NS + int(second * SECOND_NS),
                symbol,
                number if has_upd else None,
            )
            wanted.setdefault(partition_of(symbol, subjects.partitions), []).append(row)
    found: dict[int, list[Any]] = {}
    for partition, base, frame in cut(Splitter(subjects, "x"), batches, flushed):
        symbols = frame["symbol"].tolist() if frame.symbols is not None else [""] * len(frame)
        upd = frame["upd"].tolist() if "upd" in frame.columns else [None] * len(frame)
        rows = zip([base] * len(frame), frame["ts_ns"].tolist(), symbols, upd, strict=True)
        found.setdefault(partition, []).extend(rows)
    assert found == wanted


class Silent:
    """A feed that sends one trade and then nothing, with its connection open."""

    name, speed, warm_ns, mute_s = "silent", 0.0, 0, 3600.0

    def __init__(self) -> None:
        self.over = threading.Event()

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        yield trades([0.5], [0], SYMBOLS)
        self.over.wait()


async def test_a_trade_does_not_wait_for_the_next(nats: Nats, subjects: Subjects) -> None:
    feed = Silent()
    running = asyncio.create_task(Ingest(nats.bus, subjects, feed).run())
    subject = f"ticks.trades.{partition_of('S0', subjects.partitions)}"
    async with asyncio.timeout(20):
        while await nats.bus.last("MARKET", subject) is None:
            await asyncio.sleep(0.02)
    feed.over.set()
    await running
