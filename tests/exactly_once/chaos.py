"""Real processes under real failures: a server, workers, a feed, and a hand that breaks things.

What the workers must have said is computed here, by running the same chain in this process over the
messages that the stream has kept: every event of every subject, in order, once. Where a worker that is
behind runs waiting frames as one, messages are cut elsewhere; their events are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bus import Bus, BusError
from runtime.chain import Chain
from runtime.frames import Frame, encode
from runtime.loader import ChainPlan, load_plan
from runtime.provision import provision
from runtime.subjects import Subjects, load_subjects, partition_of
from tests.exactly_once.world import events_of

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker_main.py")
SYMBOLS = [f"S{number}" for number in range(120)]
FRAME_ROWS = 20
PUBLISH_S = 0.03
MINUTE_NS = 60_000_000_000
START_NS = 1_767_623_400_000_000_000  # a Monday, 09:30 in New York
EVENT_NS_PER_FRAME = 1_500_000_000  # time runs fast: bars close every second of the test

SETTLED_TRIES = 3_000  # of 0.1 s: what 15 s of chaos leave behind took 88 s on two cores, alone


@dataclass
class Gate:
    """A TCP relay in front of the server whose connections can be cut."""

    target_port: int
    port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _relays: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._relay(reader, writer))
            self._relays.add(task)
            task.add_done_callback(self._relays.discard)

        self._server = await asyncio.start_server(accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, there[1]}
        pumps = [self._pump(reader, there[1]), self._pump(there[0], writer)]
        await asyncio.gather(*pumps, return_exceptions=True)
        self._writers -= {writer, there[1]}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Drop every connection without a goodbye."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        if self._server:
            self._server.close()
        await asyncio.gather(*self._relays)


@dataclass
class Server:
    """A nats-server of our own that can be killed and started again on the same port."""

    binary: str
    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.directory)]
        with (self.directory / "nats.log").open("ab") as log:
            self.process = subprocess.Popen([self.binary, *arguments], stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


@dataclass
class Chaos:
    """One run: feed, workers, failures, and what came out."""

    server: Server
    functions_dir: Path
    seed: int
    without: str = ""
    die_before_save: float = 0.02
    log: Path = Path("workers.log")
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _frozen: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def run(self, seconds: float) -> list[str]:
        """Feed and break for `seconds`, let the workers finish, and list every difference."""
        subjects = load_subjects(ROOT / "subjects.yaml")
        plan = load_plan(self.functions_dir, subjects)
        assert not plan.faults, plan.faults
        gate = Gate(self.server.port)
        await gate.open()
        self.server.start()
        bus = await Bus.connect(self.server.url, "chaos")
        try:
            await provision(bus, subjects)
            for _ in range(2):
                self._start(gate.port)
            breaking = asyncio.create_task(self._break(gate))
            await self._feed(bus, subjects, seconds)
            breaking.cancel()
            self._thaw()
            self.die_before_save = 0.0  # of those started from here on: they have to get done
            await self._settled(bus, subjects, list(plan.chains), gate.port)
            return await differences(bus, subjects, list(plan.chains))
        finally:
            await bus.close()
            await gate.close()
            self._end()

    # -- what breaks things

    async def _break(self, gate: Gate) -> None:
        choices = random.Random(self.seed)
        actions = {
            "kill": self._kill,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "cut": lambda _: gate.cut(),
            "add": lambda _: self._start(gate.port),
            "drain": self._drain,
            "server": self._restart_server,
        }
        weights = [4, 2, 3, 2, 2, 2, 1]
        while True:
            await asyncio.sleep(choices.uniform(0.2, 1.2))
            name = choices.choices(list(actions), weights)[0]
            self.counts[name] = self.counts.get(name, 0) + 1
            actions[name](choices)
            self._reap()
            while len(self.workers) - len(self._frozen) < 2:
                self._start(gate.port)

    def _start(self, port: int) -> None:
        if len(self.workers) >= 5:
            return
        arguments = [str(WORKER), f"nats://127.0.0.1:{port}", str(self.functions_dir)]
        arguments += [
            str(self.die_before_save),
            *(["--without", self.without] if self.without else []),
        ]
        with self.log.open("ab") as output:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, *arguments], cwd=ROOT, stdout=output, stderr=output
                )
            )

    def _awake(self) -> list[subprocess.Popen[bytes]]:
        return [worker for worker in self.workers if worker not in self._frozen]

    def _kill(self, choices: random.Random) -> None:
        if self._awake():
            choices.choice(self._awake()).kill()

    def _freeze(self, choices: random.Random) -> None:
        if self._awake() and len(self._frozen) < 2:
            chosen = choices.choice(self._awake())
            chosen.send_signal(signal.SIGSTOP)
            self._frozen.append(chosen)

    def _thaw(self, _: random.Random | None = None) -> None:
        for worker in self._frozen:
            worker.send_signal(signal.SIGCONT)
        self._frozen.clear()

    def _drain(self, choices: random.Random) -> None:
        if len(self._awake()) > 1:
            choices.choice(self._awake()).terminate()

    def _restart_server(self, _: random.Random) -> None:
        self.server.kill()
        self.server.start()

    def _reap(self) -> None:
        for worker in list(self.workers):
            if worker.poll() is not None:
                self.workers.remove(worker)

    def _end(self) -> None:
        self._thaw()
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
        self.server.kill()

    # -- feeding

    async def _feed(self, bus: Bus, subjects: Subjects, seconds: float) -> None:
        market = random.Random(self.seed + 1)
        partitions = [
            [symbol for symbol in SYMBOLS if partition_of(symbol, subjects.partitions) == p]
            for p in range(subjects.partitions)
        ]
        price = dict.fromkeys(SYMBOLS, 100.0)
        until, number = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            now_ns = START_NS + number * EVENT_NS_PER_FRAME
            async with asyncio.TaskGroup() as group:
                for partition, symbols in enumerate(partitions):
                    frames = self._frames(market, symbols, price, now_ns, number, subjects)
                    group.create_task(_publish(bus, partition, number, frames))
            number += 1
            await asyncio.sleep(PUBLISH_S)

    def _frames(
        self,
        market: random.Random,
        symbols: list[str],
        price: dict[str, float],
        now_ns: int,
        number: int,
        subjects: Subjects,
    ) -> list[tuple[str, bytes]]:
        if not symbols:
            return []
        rows = [market.randrange(len(symbols)) for _ in range(FRAME_ROWS)]
        for row in rows:
            step = market.choice((-0.05, 0.0, 0.05))
            price[symbols[row]] = round(max(1.0, price[symbols[row]] + step), 2)
        late_ns = [market.choice((0, 0, 0, 0, 70 * 10**9)) for _ in rows]
        trades = Frame(
            {
                "ts_ns": np.array([now_ns + k * 10**6 - late for k, late in enumerate(late_ns)]),
                "price": np.array([price[symbols[row]] for row in rows]),
                "size": np.array([float(market.randrange(1, 500)) for _ in rows]),
            },
            symbols,
            np.array(rows),
            "chaos",
            number,
        )
        clock = Frame({"ts_ns": np.array([now_ns + 10**9])}, source="chaos", sequence=number)
        return [
            ("ticks.trades", encode(trades, subjects.record_of("ticks.trades"))),
            ("ticks.clock", encode(clock, subjects.record_of("ticks.clock"))),
        ]

    # -- the end

    async def _settled(
        self, bus: Bus, subjects: Subjects, chains: list[ChainPlan], port: int
    ) -> None:
        """Wait until workers have answered everything and saved it."""
        for _ in range(SETTLED_TRIES):
            self._reap()
            while len(self._awake()) < 2:
                self._start(port)
            if await _all_saved(bus, subjects, chains):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"workers do not finish; see {self.log}")


async def _publish(bus: Bus, partition: int, number: int, frames: list[tuple[str, bytes]]) -> None:
    for base, data in frames:
        await bus.put(f"{base}.{partition}", data, message_id=f"{base}/{partition}/{number}")


async def _all_saved(bus: Bus, subjects: Subjects, chains: list[ChainPlan]) -> bool:
    for chain in chains:
        for partition in chain.partitions:
            ending = "all" if partition is None else partition
            try:
                state = await bus.consumer_state(chain.stream, f"{chain.name}-{ending}")
            except BusError:
                return False
            if state is None or state.pending or state.unacknowledged:
                return False
    return True


async def differences(bus: Bus, subjects: Subjects, chains: list[ChainPlan]) -> list[str]:
    """Every subject whose messages are not exactly what an undisturbed run says."""
    found = []
    for chain in chains:
        for partition in chain.partitions:
            expected = await undisturbed(bus, subjects, chain, partition)
            for base in chain.writes:
                stream = subjects.subjects[base].stream
                if stream is None:
                    continue
                for subject in subjects.outputs(base, partition):
                    kept = [m.data for m in await bus.history(stream, subject, 10**6)]
                    said = events_of(subjects, kept, subject)
                    wanted = events_of(subjects, expected.get(subject, []), subject)
                    if said != wanted:
                        found.append(_described(subject, said, wanted))
    dead = (await bus.stream_state("DEAD")).messages
    return found + ([f"{dead} dead letters"] if dead else [])


async def undisturbed(
    bus: Bus, subjects: Subjects, plan: ChainPlan, partition: int | None
) -> dict[str, list[bytes]]:
    """What one chain says that runs once, in this process, over the stored input."""
    chain = Chain(plan, subjects, partition)
    outputs: dict[str, list[bytes]] = {}
    wanted = plan.wire_inputs(subjects, partition)
    ends = [last.sequence for s in wanted if (last := await bus.last(plan.stream, s)) is not None]
    if not ends:
        return outputs
    async for message in bus.read(plan.stream, wanted, "first"):
        said = chain.run(message.sequence, message.subject, message.data, message.ts_ns)
        for output in said:
            if not output.is_core:
                outputs.setdefault(output.subject, []).append(output.data)
        if message.sequence >= max(ends):
            return outputs
    return outputs


def _described(subject: str, said: list[Any], wanted: list[Any]) -> str:
    said, wanted = [json.dumps(one) for one in said], [json.dumps(one) for one in wanted]
    doubled = len(said) - len(set(said))
    missing = len(set(wanted) - set(said))
    return (
        f"{subject}: said {len(said)}, wanted {len(wanted)}; {doubled} twice, {missing} missing, "
        f"{'other order' if sorted(said) == sorted(wanted) else 'other content'}"
    )
