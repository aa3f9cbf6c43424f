"""1 -> most -> 1 workers under load, by the figures of `jetscan scale`: pauses, and is anything amiss.

A function with the state of a market is fed more than one process can answer, until the figures have
every worker started; then a tenth of it, until they have all but one given back. Each event of a
symbol is answered with its number, so what is lost, said twice or out of order shows. A pause is the
time a partition says nothing while input waits for it.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.heavy.ledger import FREE, SLOTS, toil
from bench.machinery import ROOT, Stage, stage
from runtime.bus import Message
from runtime.config import Settings
from runtime.frames import Frame, decode, encode
from runtime.lag import ask_lag
from runtime.scaling import Bounds, Scaling
from runtime.subjects import Subjects, partition_of
from runtime.supervisor import Supervisor

SCALE_S = 90.0
TOIL_S = 0.004  # of an event: 250 a second are what one process can do
OVERLOAD = 1.3
EVENT_SPEED = 20  # event time runs faster: 0.1 s of waiting is 2 s of lag
ENOUGH_S = 60.0  # of lag: a feed that went on would have a slow machine answer it for minutes
CALM = 0.1


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 4_800,
    most: int = 4,
    slots: int = SLOTS,
    cooldown_s: float = 3.0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    sizes = {
        "partitions": subjects.partitions,
        "symbols": symbols,
        "workers_max": most,
        "state_mb_per_partition": round(symbols / subjects.partitions * slots * 8 / 1e6, 1),
    }
    return sizes, asyncio.run(_measure(subjects, symbols, slots, Bounds(1, most, 2.0, cooldown_s)))


@dataclass
class Feed:
    """One event of every partition at a time, in an order of its own by symbol."""

    running: Stage
    subjects: Subjects
    symbols: list[list[str]]
    per_s: float
    now_ns: int = 10**18
    number: int = 0
    speed: int = EVENT_SPEED
    lag_s: Callable[[], float] = lambda: 0.0
    stall_max_s: float = 0.0  # how late our own timer came: the machine's pause, not the workers'
    sent: list[int] = field(default_factory=list)  # the last sequence of each partition

    async def fill(self) -> None:
        """Every symbol once: state is as large as it will be."""
        await self._round([[*names] for names in self.symbols], FREE)

    async def keep(self) -> None:
        """Until cancelled, half way through no round."""
        due = time.monotonic()
        while True:
            self.number += 1
            one = [[names[self.number % len(names)]] for names in self.symbols]
            await asyncio.shield(self._round(one))
            due = max(due, time.monotonic() - 0.5) + len(self.symbols) / self.per_s
            wait_s, began = max(0.0, due - time.monotonic()), time.monotonic()
            await asyncio.sleep(wait_s)
            self.stall_max_s = max(self.stall_max_s, time.monotonic() - began - wait_s)
            while self.lag_s() > ENOUGH_S:
                await asyncio.sleep(0.05)

    async def _round(self, chosen: list[list[str]], price: float = 1.0) -> None:
        self.now_ns += int(len(self.symbols) / self.per_s * self.speed * 1e9)
        self.sent = await asyncio.gather(
            *(self._put(partition, names, price) for partition, names in enumerate(chosen))
        )

    async def _put(self, partition: int, names: list[str], price: float) -> int:
        record, clock = self.subjects.record_of("ticks.trades"), {"ts_ns": np.array([self.now_ns])}
        columns = {"price": np.full(len(names), price), "size": np.ones(len(names))}
        columns["ts_ns"] = np.full(len(names), self.now_ns)
        if (
            self.number % 2
        ):  # frames that differ are not run as one: a worker that is behind stays so
            columns["id"] = np.full(len(names), self.number)
        trades = Frame(columns, names, np.arange(len(names)), "bench", self.number)
        bus = self.running.bus
        await bus.put(f"ticks.trades.{partition}", encode(trades, record))
        told = encode(Frame(clock, source="bench"), self.subjects.record_of("ticks.clock"))
        return await bus.put(f"ticks.clock.{partition}", told)


async def _measure(subjects: Subjects, symbols: int, slots: int, bounds: Bounds) -> dict[str, Any]:
    by_partition: list[list[str]] = [[] for _ in range(subjects.partitions)]
    for number in range(symbols):
        by_partition[partition_of(f"S{number}", subjects.partitions)].append(f"S{number}")
    async with stage(subjects) as running:
        told: list[str] = []
        functions = {"ledger": {"work": _work(TOIL_S), "slots": slots}}
        environment = {
            "JETSCAN_NATS_URL": running.url,
            "JETSCAN_FUNCTIONS_DIR": str(ROOT / "bench" / "heavy"),
            "JETSCAN_FUNCTIONS": json.dumps(functions),
            "JETSCAN_SUBJECTS_FILE": str(ROOT / "subjects.yaml"),
            "PYTHONPATH": str(ROOT),
        }
        supervisor = Supervisor(environment, running.directory / "logs", told.append)
        try:
            supervisor.start_worker("ledger")
            await running.hosted(subjects.partitions)
            feed = Feed(running, subjects, by_partition, OVERLOAD / TOIL_S)
            await feed.fill()
            await _saved(running, symbols * slots * 8 // subjects.partitions // 2)
            found = await _scaled(running, subjects, supervisor, feed, bounds)
            amiss = await _compared(running, subjects)
            drained_s = await _drained(supervisor)
        except TimeoutError:
            logs = sorted((running.directory / "logs").glob("*.log"))
            sys.stderr.write("\n".join([*told, *(one.read_text()[-2_000:] for one in logs)]))
            raise
        finally:
            await supervisor.stop_all()
    return {**found, **amiss, "drain_max_s": max(found["drain_max_s"], drained_s)}


async def _saved(running: Stage, least_bytes: int) -> None:
    """Until every partition is saved with all its symbols, as that of a market that has long been open."""
    async with asyncio.timeout(SCALE_S):
        while (
            min((one["state_bytes"] for one in (await running.units()).values()), default=0)
            < least_bytes
        ):
            await asyncio.sleep(0.2)


def _work(seconds: float) -> int:
    """Rounds of work that take so long on this machine."""
    began = time.process_time()
    toil(200_000)
    return int(200_000 * seconds / max(time.process_time() - began, 1e-6))


async def _scaled(
    running: Stage, subjects: Subjects, supervisor: Supervisor, feed: Feed, bounds: Bounds
) -> dict[str, Any]:
    stopped_s = _timed_stops(supervisor)
    scaling = Scaling(bounds)
    feed.lag_s = lambda: scaling.figures["ledger"].lag_s or 0.0 if scaling.figures else 0.0
    watching = asyncio.create_task(supervisor.watch(running.bus, subjects, scaling))
    feeding = asyncio.create_task(feed.keep())
    began = time.monotonic()
    try:
        await _until_shared(running, bounds.most)
        grown_s = time.monotonic() - began
        feed.per_s, feed.speed = CALM / TOIL_S, 1
        began = time.monotonic()
        await _until_shared(running, bounds.least)
        given_back_s = time.monotonic() - began
        await asyncio.sleep(0.5)
    finally:
        feeding.cancel()
        watching.cancel()
        await asyncio.gather(feeding, watching, return_exceptions=True)
    await _answered(running, feed)
    return {
        "grown_s": round(grown_s, 1),
        "given_back_s": round(given_back_s, 1),
        "drain_max_s": round(max(stopped_s), 2),
        "stall_max_s": round(feed.stall_max_s, 3),
        "restarts": sum(one.restarts for one in supervisor.workers),
    }


def _timed_stops(supervisor: Supervisor) -> list[float]:
    """How long each worker that was given back took from SIGTERM to its end."""
    stop, took_s = supervisor.stop, []

    async def timed(process: Any) -> None:
        began = time.monotonic()
        await stop(process)
        took_s.append(time.monotonic() - began)

    supervisor.stop = timed  # type: ignore[method-assign]
    return took_s


async def _until_shared(running: Stage, workers: int) -> None:
    """Until every partition is hosted, by so many workers with an even share each."""
    async with asyncio.timeout(SCALE_S):
        while True:
            lag = await ask_lag(running.bus)
            shares = [sum(u["worker"] == w for u in lag.units) for w in {u["worker"] for u in lag.units}]  # fmt: skip
            if lag.workers == len(shares) == workers and max(shares) - min(shares) <= 1:
                return
            await asyncio.sleep(0.2)


async def _answered(running: Stage, feed: Feed) -> None:
    async with asyncio.timeout(SCALE_S):
        while True:
            units = await running.units()
            done = [
                units.get(f"ledger.{p}", {}).get("position", 0) >= last
                for p, last in enumerate(feed.sent)
            ]
            if all(done):
                return
            await asyncio.sleep(0.1)


async def _drained(supervisor: Supervisor) -> float:
    """How long the last worker takes to save and end, with nobody to hand over to."""
    began = time.monotonic()
    await supervisor.stop_all()
    return round(time.monotonic() - began, 2)


async def _compared(running: Stage, subjects: Subjects) -> dict[str, Any]:
    """Numbers of answers by symbol must be 1, 2, 3 ...; pauses are those of stored answers."""
    asked: dict[str, int] = {}
    said: dict[str, list[int]] = {}
    pauses = []
    for partition in range(subjects.partitions):
        inputs = await running.bus.history("MARKET", f"ticks.trades.{partition}", 10**6)
        outputs = await running.bus.history("ALERTS", f"alerts.{partition}", 10**6)
        for message in inputs:
            for symbol in decode(message.data, subjects.record_of("ticks.trades"))["symbol"]:
                asked[symbol] = asked.get(symbol, 0) + 1
        for message in outputs:
            frame = decode(message.data, subjects.record_of("alerts"))
            for symbol, price in zip(frame["symbol"], frame["price"].tolist(), strict=True):
                said.setdefault(symbol, []).append(int(price))
        pauses += _pauses_s(inputs, outputs)
    numbers = {symbol: said.get(symbol, []) for symbol in asked}
    return {
        "events": sum(asked.values()),
        "pause_max_s": round(max(pauses), 3),
        "pause_p99_s": round(float(np.percentile(pauses, 99)), 3),
        "lost": sum(count - len(set(numbers[symbol])) for symbol, count in asked.items()),
        "duplicated": sum(len(one) - len(set(one)) for one in numbers.values()),
        "reordered": sum(one != sorted(one) for one in numbers.values()),
    }


def _pauses_s(inputs: list[Message], outputs: list[Message]) -> list[float]:
    """For each answer: the time for which its input was there and its partition said nothing."""
    stored_ns = {one.sequence: one.ts_ns for one in inputs}
    order = sorted(stored_ns)
    found, spoken_ns, answered = [], 0, 0
    for output in outputs:
        waiting = order[bisect.bisect_right(order, answered)]  # what was there first
        found.append((output.ts_ns - max(stored_ns[waiting], spoken_ns)) / 1e9)
        answered = int(output.headers["Jetscan-Position"].partition(".")[0])
        spoken_ns = output.ts_ns
    return found[1:]  # the first fills the state
