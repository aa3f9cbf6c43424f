"""Runs backtests, one at a time: the next one is that of the user who waited longest."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from pathlib import Path
from typing import IO, Any

from runtime import telemetry
from runtime.config import Settings
from runtime.embedded import EmbeddedError, locked
from runtime.gateway.book import RuleError
from runtime.gateway.children import Ended, TooLong, run_child
from runtime.gateway.job_folders import PROGRESS, UNFINISHED, Job, JobFolders, now
from runtime.gateway.stored_range import BARS_MAX, is_too_large
from runtime.store import BadValue, Outage, Store, StoreError

log = telemetry.get_logger(__name__)

RUN_S = 3_600.0
WAITING_OF_USER_MAX = 5
WAITING_MAX = 50  # of all users: half a day of work at the usual ten minutes
KEPT_OF_USER_MAX = 50  # the oldest go

INTERRUPTED = "the gateway ended before the run did; run it again"


class BacktestJobs:
    """The queue, the run, and what is on disk."""

    def __init__(self, settings: Settings, store: Store | None) -> None:
        self._settings, self._store = settings, store
        self.folders = JobFolders(Path(settings.data_dir) / "backtests")
        self._waiting: deque[Job] = deque()
        self._came = asyncio.Event()
        self._running: tuple[Job, asyncio.Task[Ended]] | None = None
        self._lock: IO[str] | None = None

    # -- what routes do

    def submit(self, user: str, job: Job, files: dict[str, Any]) -> Job:
        """Queue a job; 429, 503."""
        if self._store is None:
            raise Outage("no database: set JETSCAN_DATABASE_URL")
        if self._lock is None:
            raise RuleError(503, "another gateway runs the backtests of this data directory")
        mine = sum(one["user_id"] == user for one in self._unended())
        if mine >= WAITING_OF_USER_MAX:
            raise RuleError(429, f"at most {WAITING_OF_USER_MAX} backtests of a user wait or run")
        if len(self._waiting) >= WAITING_MAX:
            raise RuleError(503, "too many backtests wait; try again later")
        made = self.folders.make(user, job, files)
        self._forget_oldest(user)
        self._waiting.append(made)
        self._came.set()
        return made

    def cancel(self, job: Job) -> None:
        """End a job that waits or runs."""
        for one in [one for one in self._waiting if one["id"] == job["id"]]:
            self._waiting.remove(one)
        if self._running is not None and self._running[0]["id"] == job["id"]:
            self._running[1].cancel()
        self._ended(job, "cancelled")

    def shape(self, job: Job) -> Job:
        """A job as clients know it."""
        waiting = [one["id"] for one in self._waiting]
        told = {**job, "progress": self.folders.progress(job)}
        if job["id"] in waiting:
            told["waiting"] = waiting.index(job["id"]) + 1
        return told

    def _unended(self) -> list[Job]:
        return [*self._waiting, *([self._running[0]] if self._running else [])]

    def _forget_oldest(self, user: str) -> None:
        ended = [one for one in self.folders.of(user) if one["state"] not in UNFINISHED]
        for one in ended[KEPT_OF_USER_MAX:]:
            self.folders.remove(user, one["id"])

    # -- running

    async def work(self) -> None:
        """Run what waits, one after the other, until cancelled."""
        try:
            self._lock = locked(self.folders.root)
        except EmbeddedError as error:
            log.warning("no backtests are run here", reason=str(error))
            return
        try:
            for job in self.folders.unfinished():
                self._ended(job, "interrupted", INTERRUPTED)
            while True:
                await self._came.wait()
                self._came.clear()
                while self._waiting:
                    await self._run(self._waiting.popleft())
        finally:
            self._lock.close()
            self._lock = None

    async def _run(self, job: Job) -> None:
        job |= {"state": "running", "started_at": now()}
        self.folders.write(job)
        task = asyncio.create_task(self._work(job))
        self._running = job, task
        began = time.monotonic()
        try:
            ended = await asyncio.shield(task)
            if ended.code:
                self._ended(job, "failed", ended.reason)
            else:
                self._ended(job, "done", seconds=round(time.monotonic() - began, 1))
        except asyncio.CancelledError:
            if not task.cancelled():  # the gateway ends
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                self._ended(job, "interrupted", INTERRUPTED)
                raise
        except (TooLong, RuleError, Outage, StoreError, BadValue, OSError) as error:
            self._ended(job, "failed", str(error))
        finally:
            self._running = None

    async def _work(self, job: Job) -> Ended:
        if self._store is None:
            raise Outage("no database")
        symbols = job["symbols"]
        if await is_too_large(self._store, job["from_ns"], job["to_ns"], symbols):
            raise RuleError(413, f"more than {BARS_MAX:,} bars; fewer days, or only some symbols")
        folder = self.folders.folder(job["user_id"], job["id"])
        words = ["backtest", "--stored", "--report", "html", "--json", "--out", str(folder / "out")]
        words += ["--from", str(job["from_ns"]), "--to", str(job["to_ns"])]
        words += ["--progress", str(folder / PROGRESS), f"--symbols={','.join(symbols)}"]
        for option, name in (("--rules", "rules.json"), ("--toplists", "toplists.json")):
            if (folder / name).exists():
                words += [option, str(folder / name)]
        return await run_child(self._settings, words, RUN_S)

    def _ended(self, job: Job, state: str, error: str = "", **more: Any) -> None:
        """How a job ended; one that was cancelled stays so."""
        kept = self.folders.read(job["user_id"], job["id"])
        if kept is None or kept["state"] not in UNFINISHED:
            return
        told = {"state": state, "ended_at": now(), **({"error": error} if error else {}), **more}
        self.folders.write({**kept, **told})
