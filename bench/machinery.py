"""What the benches share: a server of their own, worker processes, made-up frames, statistics."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bus import Bus
from runtime.embedded import EmbeddedNats
from runtime.frames import Frame, encode, texts
from runtime.ingest import Outgoing, Splitter
from runtime.provision import provision
from runtime.subjects import Subjects

ROOT = Path(__file__).parent.parent
READY_S = 30.0


def machine() -> dict[str, Any]:
    """Where a number was measured."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load_1m": round(os.getloadavg()[0], 2),
    }


def percentiles_ms(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    values = np.array(seconds) * 1000
    return {f"p{p}_ms": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}


@dataclass
class Stage:
    """A server with streams, and the processes started on it."""

    bus: Bus
    url: str
    directory: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, *arguments: str, keys: Mapping[str, str] | None = None, **settings: str
    ) -> subprocess.Popen[bytes]:
        """Run `jetscan ARGUMENTS` against the server; `keys` are variables as they are."""
        environment = {**os.environ, "JETSCAN_NATS_URL": self.url, "JETSCAN_LOG_LEVEL": "warning"}
        environment |= {f"JETSCAN_{name.upper()}": value for name, value in settings.items()}
        environment |= keys or {}
        with (self.directory / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "runtime.cli", *arguments],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    async def units(self) -> dict[str, dict[str, Any]]:
        """Every hosted unit by its key, with its worker's pid."""
        told = [
            json.loads(answer.data)
            for answer in await self.bus.gather("runtime.status", wait_s=0.15)
        ]
        return {unit["unit"]: {**unit, "pid": one["pid"]} for one in told for unit in one["units"]}

    async def hosted(self, wanted: int) -> None:
        """Wait until so many units are hosted; raises TimeoutError."""
        async with asyncio.timeout(READY_S):
            while len(await self.units()) < wanted:
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        """End every process by its pid."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@contextlib.asynccontextmanager
async def stage(subjects: Subjects) -> AsyncIterator[Stage]:
    """A server in a directory of its own, provisioned; everything ends with the block."""
    with tempfile.TemporaryDirectory(prefix="jetscan-bench-") as name:
        directory = Path(name)
        server = await EmbeddedNats.start(directory)
        bus = await Bus.connect(server.url, "bench")
        built = Stage(bus, server.url, directory)
        try:
            await provision(bus, subjects)
            yield built
        finally:
            built.stop()
            await bus.close()
            await server.stop()


def market_frames(
    subjects: Subjects, symbols: int, rate: float, seconds: int
) -> Iterator[Outgoing]:
    """Frames of the simulator: `seconds` of a market with `rate` trades a second, and its clock."""
    from runtime.providers.sim import SimProvider  # brings polars, 40 MB that no worker holds

    provider = SimProvider(symbols=symbols, seed=11, rate=rate)
    splitter = Splitter(subjects, "bench")
    clocks = 0
    for batch in provider.batches():
        if batch.kind not in ("trades", "clock"):
            continue
        # Every print counts in its bar: none is ineligible, none is known to be told twice.
        columns = {name: v for name, v in batch.columns.items() if name not in ("upd", "id")}
        yield from splitter.split(replace(batch, columns=columns))
        if batch.kind == "clock":
            clocks += 1
            if clocks > seconds:
                break
    yield from splitter.flush()


def rules_body(rules: int) -> str:
    """Rules of three conditions over the usual metrics, some of which fire now and then."""
    made = [
        {
            "id": f"bench-{k}",
            "name": f"Bench {k}",
            "cooldown": 300,
            "conditions": [
                {"metric": "change_pct_1m", "operator": ">", "value": 0.3 + k * 0.02},
                {"metric": "vwap_5m", "operator": ">", "value": 1 + k * 0.1},
                {"metric": "volume_daily", "operator": ">", "value": 1000 * k},
            ],
        }
        for k in range(rules)
    ]
    return json.dumps({"rules": made})


def control_frame(subjects: Subjects, body: str, version: int = 1) -> bytes:
    """A rule set as the gateway sends it."""
    frame = Frame({"version": np.array([version]), "body": texts([body])}, source="bench")
    return encode(frame, subjects.record_of("control"))


async def send_rules(bus: Bus, subjects: Subjects, body: str) -> None:
    """Give every partition the rules."""
    data = control_frame(subjects, body)
    for partition in range(subjects.partitions):
        await bus.put(subjects.wire("control", partition), data)
