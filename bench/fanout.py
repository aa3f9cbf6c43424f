"""One gateway process and its clients: updates of a toplist to many, reads over REST, clients that stall.

An update is published on `toplists.updated` as the functions do; its latency is from there until a client
has read it. Clients are in a process of their own. Reads are sent at their times, whatever the answers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.followers import SEQ_DIGITS
from bench.machinery import ROOT, Stage, percentiles_ms, stage
from runtime.config import Settings
from runtime.frames import Frame, encode, texts
from runtime.subjects import Subjects

LIST, ROWS = "gainers_5m", 33  # 5 KB of JSON
FIRST = 10 ** (SEQ_DIGITS - 1)
SETTLE_S = 2.0
CUT_OFF_S = 40.0
READERS = 32
READ = f"GET /api/v1/toplists/system/{LIST} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


@dataclass(frozen=True)
class Crowd:
    """Clients that follow, clients that read nothing, and updates a second."""

    name: str
    clients: int
    stalled: int
    per_s: float


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    many: int = 1_000,
    most: int = 5_000,
    stalled: int = 50,
    reads_per_s: float = 500.0,
    seconds: float = 20.0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    sizes = {"many": many, "most": most, "stalled": stalled, "reads_per_s": reads_per_s}
    crowds = [
        Crowd("fast", many, 0, 50.0),
        Crowd("fast_stalled", many, stalled, 50.0),
        Crowd("wide", most, 0, 1.0),
        Crowd("wide_stalled", most, 2 * stalled, 1.0),
    ]
    results: dict[str, Any] = {}
    for crowd in crowds:
        told = asyncio.run(_crowd(subjects, crowd, seconds))
        if not quiet:
            print(crowd.name, told, flush=True)
        results |= {f"{crowd.name}_{name}": value for name, value in told.items()}
    results |= asyncio.run(_reads(subjects, reads_per_s, seconds))
    return {**sizes, "seconds": seconds}, results


# -- updates to clients


async def _crowd(subjects: Subjects, crowd: Crowd, seconds: float) -> dict[str, Any]:
    async with _gateway(subjects, crowd.clients + crowd.stalled + 10) as served:
        file = served.stage.directory / "heard.npy"
        before = served.rss_mb()
        followers = await _followers(served, crowd, file)
        try:
            publisher = Publisher(served.stage, subjects)
            await publisher.run(1.0, min(crowd.per_s, 10.0))  # the first updates warm everything
            cpu_s, begun = served.cpu_s(), time.monotonic()
            first = await publisher.run(seconds, crowd.per_s)
            cpu = (served.cpu_s() - cpu_s) / (time.monotonic() - begun)
            await asyncio.sleep(SETTLE_S)
            full = served.rss_mb()
            cut_off_s = await _cut_off_s(served, crowd, publisher)
        finally:
            await asyncio.to_thread(followers.communicate)
        await served.empty()
        told = _judged(np.load(file), publisher.times, first, crowd.clients)
        memory = {"rss_empty_mb": before, "rss_full_mb": full, "rss_after_mb": served.rss_mb()}
        return told | {"cpu": round(cpu, 2), "cut_off_s": cut_off_s} | memory


def _judged(
    heard: np.ndarray, published: dict[int, int], first: int, clients: int
) -> dict[str, Any]:
    """Latencies of what was heard from update `first` on, and the share of all updates that came."""
    times, numbers = heard[0], heard[1]
    measured = numbers >= first
    sent = np.array([published[number] for number in numbers[measured].tolist()])
    due = clients * sum(number >= first for number in published)
    share = round(float(measured.sum()) / due, 4) if due else 0.0
    return percentiles_ms(((times[measured] - sent) / 1e9).tolist()) | {"delivered": share}


async def _followers(served: Served, crowd: Crowd, file: Path) -> subprocess.Popen[bytes]:
    """The clients' process, once all of them follow."""
    host, port = served.address
    arguments = [host, str(port), str(crowd.clients), str(crowd.stalled), str(file)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.followers", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    if line != b"ready\n":
        raise RuntimeError(f"the clients' process ended: {line!r}")
    return process


async def _cut_off_s(served: Served, crowd: Crowd, publisher: Publisher) -> float:
    """How long until all stalled clients are gone, while updates go on; 0 where there are none or slow ones."""
    if not crowd.stalled or crowd.per_s < 10:
        return 0.0
    begun = time.monotonic()
    while await served.connections() > crowd.clients and time.monotonic() - begun < CUT_OFF_S:
        await publisher.run(0.5, 10.0)
    return round(time.monotonic() - begun, 1)


class Publisher:
    """Updates of a toplist, as the functions write them."""

    def __init__(self, stage: Stage, subjects: Subjects) -> None:
        self._bus, self._record = stage.bus, subjects.record_of("toplists.updated")
        self._number = FIRST
        self.times: dict[int, int] = {}  # update -> monotonic ns

    async def run(self, seconds: float, per_s: float) -> int:
        """Publish at these times; the number of the first one."""
        first, begun = self._number + 1, time.monotonic()
        for k in range(max(1, int(seconds * per_s))):
            await asyncio.sleep(max(0.0, begun + k / per_s - time.monotonic()))
            self._number += 1
            data = encode(ranking(self._number), self._record)
            self.times[self._number] = time.monotonic_ns()
            await self._bus.publish("toplists.updated", data)
        return first


def ranking(number: int) -> Frame:
    """An update of ROWS ranks."""
    ranks = np.arange(1, ROWS + 1)
    columns = {
        "list": texts([LIST] * ROWS),
        "ts_ns": np.full(ROWS, time.time_ns()),
        "number": np.full(ROWS, number),
        "value": 9.0 - ranks / 8,
        "price": 100.0 + ranks,
        "volume": np.full(ROWS, 1_000_000.0),
        "rank": ranks,
        "previous": ranks,
        "since_ns": np.full(ROWS, 1_767_623_400_000_000_000),
    }
    return Frame(columns, [f"SYM{k:02}" for k in range(ROWS)], np.arange(ROWS), "bench")


# -- reads


async def _reads(subjects: Subjects, per_s: float, seconds: float) -> dict[str, Any]:
    async with _gateway(subjects, 10) as served:
        await Publisher(served.stage, subjects).run(0.5, 10.0)
        queue: asyncio.Queue[float] = asyncio.Queue()
        taken: list[float] = []
        async with asyncio.TaskGroup() as group:  # a read that fails ends the bench
            readers = [group.create_task(_reader(served, queue, taken)) for _ in range(READERS)]
            cpu_s, begun = served.cpu_s(), time.monotonic()
            for k in range(int(seconds * per_s)):
                due = begun + k / per_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                queue.put_nowait(due)
            await queue.join()
            elapsed = time.monotonic() - begun
            cpu = (served.cpu_s() - cpu_s) / elapsed
            for one in readers:
                one.cancel()
        told = percentiles_ms(taken) | {"per_s": round(len(taken) / elapsed), "cpu": round(cpu, 2)}
        return {f"read_{name}": value for name, value in told.items()}


async def _reader(served: Served, queue: asyncio.Queue[float], taken: list[float]) -> None:
    """One connection that is kept: a read whenever one is due."""
    reader, writer = await asyncio.open_connection(*served.address)
    try:
        while True:
            due = await queue.get()
            writer.write(READ)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head, head
            size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
            taken.append(time.monotonic() - due)
            queue.task_done()
    finally:
        writer.close()


# -- the gateway


@dataclass
class Served:
    """A gateway process."""

    stage: Stage
    pid: int
    address: tuple[str, int]

    def rss_mb(self) -> float:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return round(pages * 4096 / 1e6, 1)

    def cpu_s(self) -> float:
        """The time it has used."""
        told = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / 100

    async def connections(self) -> int:
        """How many clients it has."""
        async with httpx.AsyncClient() as http:
            answer = await http.get("http://{}:{}/stats".format(*self.address))
        return int(answer.json()["ConnectionsActive"])

    async def empty(self) -> None:
        """Wait until all clients are gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CUT_OFF_S):
                while await self.connections():
                    await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _gateway(subjects: Subjects, connections_max: int) -> AsyncIterator[Served]:
    """A gateway on a server of its own that is ready."""
    async with stage(subjects) as running:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {"port": str(port), "websocket_connections_max": str(connections_max)}
        settings["api_rate_limit_rps"] = "0"  # all reads come from one user
        process = running.start("gateway", **settings)
        served = Served(running, process.pid, ("127.0.0.1", port))
        async with asyncio.timeout(30), httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"http://127.0.0.1:{port}/ready")).status_code == 200:
                        break
                await asyncio.sleep(0.05)
        yield served
