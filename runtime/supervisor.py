"""Keep processes running on one machine: start them, restart what ends, add and remove workers on lag."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runtime import launch, telemetry
from runtime.bus import Bus
from runtime.lag import Lag, ask_lag, look
from runtime.scaling import Scaling
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

RESTART_S = (0.2, 0.5, 1.0, 2.0, 5.0)
HEALTHY_S = 30.0  # a process that ran this long starts again without waiting
STOP_S = 28.0  # a worker takes up to 26 s where successors are slow to read its state
LOOK_S = 1.0


@dataclass
class Process:
    """One process that is to run until told otherwise."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    log_file: Path
    task: asyncio.Task[None] | None = None
    handle: asyncio.subprocess.Process | None = None
    restarts: int = 0
    stopping: bool = False


class Supervisor:
    """Processes of this machine, each a `jetscan` command."""

    def __init__(
        self, environment: Mapping[str, str], logs: Path, say: Callable[[str], None] = print
    ) -> None:
        self._environment = {**os.environ, **environment}
        self._logs = logs
        self._say = say
        self._processes: dict[str, Process] = {}
        self._workers = 0
        self._worker_arguments: list[str] = []
        self._faults: frozenset[str] = frozenset()

    @property
    def workers(self) -> list[Process]:
        """The worker processes."""
        return [one for one in self._processes.values() if one.name.startswith("worker-")]

    def start(
        self, name: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Run `jetscan ARGUMENTS` and keep it running; `environment` is for this process alone."""
        self._logs.mkdir(parents=True, exist_ok=True)
        known = {**self._environment, **(environment or {})}
        process = Process(name, list(arguments), known, self._logs / f"{name}.log")
        self._processes[name] = process
        process.task = asyncio.create_task(self._keep(process))
        return process

    def start_worker(self, *arguments: str) -> Process:
        """One more worker process."""
        self._workers += 1
        self._worker_arguments = list(arguments)
        return self.start(f"worker-{self._workers}", "run", *arguments)

    async def _keep(self, process: Process) -> None:
        failures = 0
        while not process.stopping:
            started_at = time.monotonic()
            with process.log_file.open("ab") as output:
                process.handle = await _spawn(process, output)
                code = await process.handle.wait()
            if self._is_stopping(process):
                return
            failures = 0 if time.monotonic() - started_at > HEALTHY_S else failures + 1
            process.restarts += 1
            wait_s = RESTART_S[min(failures, len(RESTART_S) - 1)]
            last = _last_line(process.log_file)
            self._say(f"{process.name} ended with code {code}; again in {wait_s:g} s. {last}")
            await asyncio.sleep(wait_s)

    def _is_stopping(self, process: Process) -> bool:
        return process.stopping

    async def stop(self, process: Process) -> None:
        """Ask a process to hand over and end; after STOP_S it is killed."""
        process.stopping = True
        handle = process.handle
        if handle is not None and handle.returncode is None:
            handle.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(handle.wait(), STOP_S)
            except TimeoutError:
                log.error("process did not end; killed", process=process.name)
                handle.kill()
                await handle.wait()
        if process.task is not None:
            process.task.cancel()
            await asyncio.gather(process.task, return_exceptions=True)  # it may be starting one
        self._processes.pop(process.name, None)

    async def stop_all(self) -> None:
        """What feeds first, what serves next, workers last: nothing is cut off half way."""
        for prefix in ("ingest", "gateway", "worker-"):
            chosen = [one for one in self._processes.values() if one.name.startswith(prefix)]
            await asyncio.gather(*(self.stop(one) for one in chosen))
        await asyncio.gather(*(self.stop(one) for one in list(self._processes.values())))

    async def watch(self, bus: Bus, subjects: Subjects, scaling: Scaling) -> None:
        """Report faults and have as many workers as the figures say, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            lag = await look(bus, subjects, scaling)
            if lag is not None:
                self._report(lag.faults)
                await self._scale(lag, scaling)

    def _report(self, faults: frozenset[str]) -> None:
        for fault in sorted(faults - self._faults):
            self._say(f"refused: {fault} (the last good version, if any, keeps running)")
        for fault in sorted(self._faults - faults):
            self._say(f"mended: {fault.partition(': ')[0]}")
        self._faults = faults

    async def _scale(self, lag: Lag, scaling: Scaling) -> None:
        """Start what is missing; give back one at a time, so that partitions move one by one."""
        missing = scaling.desired - len(self.workers)
        for _ in range(missing):
            added = self.start_worker(*self._worker_arguments)
            self._say(f"{_most_behind(scaling)}: {added.name} added")
        if missing < 0 and lag.workers >= len(self.workers):  # none is just starting
            spare = self.workers[-1]
            self._say(f"{_most_behind(scaling)}: {spare.name} removed")
            await self.stop(spare)


def _most_behind(scaling: Scaling) -> str:
    lags = {name: one.lag_s or 0.0 for name, one in scaling.figures.items()}
    name = max(lags, key=lambda chain: lags[chain], default="nothing")
    return f"{name} is {lags.get(name, 0.0):.1f} s behind, {scaling.desired} workers wanted"


async def _spawn(process: Process, output: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *launch.command(sys.executable, "-m", "runtime.cli", *process.arguments),
        env=dict(process.environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C reaches the supervisor, which stops them in order
    )


def _last_line(path: Path) -> str:
    try:
        lines = path.read_bytes()[-4000:].decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return f"Its last words: {lines[-1][:300]}" if lines else ""


__all__ = ["Lag", "Process", "Supervisor", "ask_lag"]
