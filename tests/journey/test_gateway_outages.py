"""What clients hear while the gateway or what it stands on is killed or stopped: every alert, once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from runtime.bus import Bus
from runtime.client import Feed
from runtime.embedded import EmbeddedNats
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_valkey import EmbeddedValkey
from runtime.frames import Frame, encode, texts
from runtime.provision import provision
from runtime.subjects import Subjects
from tests.conftest import ROOT

EVERY_S = 0.05  # an alert
BEFORE_S = AFTER_S = 0.5


@dataclass
class Stand:
    """A gateway process on real servers, each of which can be ended and begun again at its address."""

    directory: Path
    subjects: Subjects
    nats: EmbeddedNats
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    port: int
    gateway: subprocess.Popen[bytes] | None = None
    numbers: list[int] = field(default_factory=list)

    def start_gateway(self) -> None:
        told = {
            "NATS_URL": self.nats.url,
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "PORT": str(self.port),
        }
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment |= {f"JETSCAN_{name}": value for name, value in told.items()}
        with (self.directory / "gateway.log").open("ab") as log:
            command = [sys.executable, "-m", "runtime.cli", "gateway"]
            self.gateway = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)

    def pid(self, victim: str) -> int:
        if victim == "gateway":
            assert self.gateway is not None
            return self.gateway.pid
        if victim == "valkey":
            assert self.valkey._process is not None
            return self.valkey._process.pid
        return int(getattr(self, victim).pid)

    async def begin_again(self, victim: str) -> None:
        """Start what was killed, where it was."""
        if victim == "gateway":
            assert self.gateway is not None
            self.gateway.wait()
            self.start_gateway()
            return
        await getattr(self, victim).stop()  # what is left of it
        if victim == "nats":
            port = int(self.nats.url.rpartition(":")[2])
            self.nats = await EmbeddedNats.start(self.directory, port)
        elif victim == "postgres":
            self.postgres = await EmbeddedPostgres.start(self.directory)
        else:
            self.valkey = await EmbeddedValkey.start(self.directory)

    async def ready(self) -> None:
        async with asyncio.timeout(30), httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await http.get(f"http://127.0.0.1:{self.port}/ready", timeout=1)
                    if answer.status_code == 200:
                        return
                await asyncio.sleep(0.05)

    async def publish(self) -> None:
        """An alert every EVERY_S, each stored for certain, until cancelled."""
        bus = await Bus.connect(self.nats.url, "test")
        try:
            while True:
                number = len(self.numbers) + 1
                await bus.put("alerts.filtered", self._alert(number), message_id=f"n{number}")
                self.numbers.append(number)
                await asyncio.sleep(EVERY_S)
        finally:
            await bus.close()

    def _alert(self, number: int) -> bytes:
        told = {"id": f"id-{number}", "rule_id": "r", "rule_name": "R", "values": "{}"}
        columns: dict[str, Any] = {name: texts([text]) for name, text in told.items()}
        columns |= {"ts_ns": np.array([number * 10**9]), "price": np.array([1.5])}
        columns["number"] = np.array([number])
        frame = Frame(columns, ["A"], np.zeros(1, dtype=int), "alerts")
        return encode(frame, self.subjects.record_of("alerts.filtered"))


@contextlib.asynccontextmanager
async def stand(directory: Path, subjects: Subjects) -> AsyncIterator[Stand]:
    nats = await EmbeddedNats.start(directory)
    bus = await Bus.connect(nats.url, "provision")
    await provision(bus, subjects)
    await bus.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    postgres = await EmbeddedPostgres.start(directory)
    valkey = await EmbeddedValkey.start(directory)
    built = Stand(directory, subjects, nats, postgres, valkey, port)
    try:
        built.start_gateway()
        await built.ready()
        yield built
    finally:
        if built.gateway is not None:
            built.gateway.kill()
            built.gateway.wait()
        for one in (built.nats, built.postgres, built.valkey):
            await one.stop()


async def listen(feed: Feed, heard: list[int], gaps: list[Any]) -> None:
    """Note every alert, until cancelled."""
    async for message in feed:
        if message["type"] == "alert":
            heard.append(message["data"]["seq"])
        elif message["type"] == "gap":
            gaps.append(message)


async def outage(
    built: Stand, victim: str, how: signal.Signals, seconds: float, clients: int
) -> tuple[list[list[int]], list[Any], float]:
    """What clients hear of alerts while `victim` is away: by client, the gaps they were told, and how long
    after its return until the last of them has everything."""
    heard: list[list[int]] = [[] for _ in range(clients)]
    gaps: list[Any] = []
    url = f"ws://127.0.0.1:{built.port}/ws"
    tasks = [asyncio.create_task(listen(Feed(url, after=0), one, gaps)) for one in heard]
    publishing = asyncio.create_task(built.publish())
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(60 + seconds):
            await asyncio.sleep(BEFORE_S)
            while not all(heard):
                await asyncio.sleep(0.02)
            os.kill(built.pid(victim), how)
            await asyncio.sleep(seconds)
            if how == signal.SIGSTOP:
                os.kill(built.pid(victim), signal.SIGCONT)
            else:
                await built.begin_again(victim)
            begun = loop.time()
            before = len(built.numbers)
            while len(built.numbers) < before + AFTER_S / EVERY_S:
                await asyncio.sleep(0.02)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            while any(len(one) < len(built.numbers) for one in heard):
                await asyncio.sleep(0.02)
            return heard, gaps, loop.time() - begun
    finally:
        for task in (*tasks, publishing):
            task.cancel()
        await asyncio.gather(*tasks, publishing, return_exceptions=True)


@pytest.mark.parametrize(
    ("victim", "how"),
    [
        ("gateway", signal.SIGKILL),
        ("gateway", signal.SIGSTOP),
        ("nats", signal.SIGKILL),
        ("nats", signal.SIGSTOP),
        ("postgres", signal.SIGKILL),
        ("valkey", signal.SIGKILL),
    ],
    ids=lambda one: getattr(one, "name", one),
)
async def test_no_alert_is_lost_and_nothing_else_is_started_again(
    tmp_path: Path, subjects: Subjects, victim: str, how: signal.Signals
) -> None:
    async with stand(tmp_path, subjects) as built:
        before = built.pid("gateway")
        heard, gaps, _ = await outage(built, victim, how, 2.0, 20)
        assert gaps == []
        assert len(built.numbers) > 10
        for one in heard:
            assert one == built.numbers
        assert (built.pid("gateway") == before) == (victim != "gateway" or how == signal.SIGSTOP)
        assert built.gateway is not None
        assert built.gateway.poll() is None
