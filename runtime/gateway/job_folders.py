"""Backtests on disk: a folder per job, `backtests/USER/ID`, whose `job.json` is all that is known of it.

What is here survives the gateway. A job that was queued or running when it ended is marked `interrupted` by the next one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.shapes import rfc3339

PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
HASHED = "u-"  # folders of users whose id is no name of a folder begin so
ID = re.compile(r"[0-9a-f-]{36}")
UNFINISHED = frozenset({"queued", "running"})
JOB, PROGRESS, REPORT, ALERTS = "job.json", "progress", "report.html", "alerts.jsonl"

Job = dict[str, Any]


def now() -> str:
    """The wall clock."""
    return rfc3339(time.time_ns())


class JobFolders:
    """The jobs of all users."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, user: str, job_id: str = "") -> Path:
        """Where a user's jobs lie, or one of them."""
        is_plain = PLAIN.fullmatch(user) and not user.startswith(HASHED)
        name = (
            user
            if is_plain
            else HASHED + hashlib.blake2b(user.encode(), digest_size=16).hexdigest()
        )
        return self.root / name / job_id if job_id else self.root / name

    def make(self, user: str, job: Job, files: dict[str, Any]) -> Job:
        """A new folder with the job and the files it is made of."""
        job_id = str(uuid.uuid4())
        folder = self.folder(user, job_id)
        folder.mkdir(parents=True)
        for name, value in files.items():
            (folder / name).write_text(json.dumps(value), encoding="utf-8")
        whole = {"id": job_id, "user_id": user, "state": "queued", **job, "created_at": now()}
        self.write(whole)
        return whole

    def write(self, job: Job) -> None:
        """Keep what is known of a job; whole or not at all."""
        file = self.folder(job["user_id"], job["id"]) / JOB
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(job), encoding="utf-8")
        fresh.replace(file)

    def read(self, user: str, job_id: str) -> Job | None:
        """A job of a user; None where there is none."""
        if not ID.fullmatch(job_id):
            return None
        return _read(self.folder(user, job_id))

    def of(self, user: str) -> list[Job]:
        """The jobs of a user, newest first."""
        return _newest_first(self._jobs(self.folder(user)))

    def remove(self, user: str, job_id: str) -> None:
        """Remove a job and what it made."""
        shutil.rmtree(self.folder(user, job_id), ignore_errors=True)

    def unfinished(self) -> list[Job]:
        """The jobs that were never ended."""
        folders = [one for one in self.root.iterdir() if one.is_dir()]
        jobs = [job for folder in folders for job in self._jobs(folder)]
        return [job for job in jobs if job["state"] in UNFINISHED]

    def progress(self, job: Job) -> float:
        """The part of a job that is done, 0 to 1, as its process says."""
        if job["state"] != "running":
            return 1.0 if job["state"] == "done" else 0.0
        try:
            told = (self.folder(job["user_id"], job["id"]) / PROGRESS).read_text(encoding="utf-8")
            done, total = map(int, told.split())
        except (OSError, ValueError):
            return 0.0
        return round(min(done / total, 1.0), 4) if total else 0.0

    def alerts(self, job: Job, offset: int, limit: int) -> list[Job]:
        """Some of the alerts of a job that is done, in order."""
        found = []
        file = self.folder(job["user_id"], job["id"]) / "out" / ALERTS
        with file.open(encoding="utf-8") as lines:
            for place, line in enumerate(lines):
                if place >= offset + limit:
                    break
                if place >= offset:
                    found.append(json.loads(line))
        return found

    def _jobs(self, folder: Path) -> Iterator[Job]:
        if not folder.is_dir():
            return
        for one in folder.iterdir():
            job = _read(one)
            if job is not None:
                yield job


def _read(folder: Path) -> Job | None:
    try:
        found: Job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _newest_first(jobs: Iterator[Job]) -> list[Job]:
    return sorted(jobs, key=lambda one: str(one["created_at"]), reverse=True)
