"""A real worker process for the chaos test; may be told to die between publishing and saving.

    python worker_main.py URL FUNCTIONS_DIR DIE_BEFORE_SAVE [--without fence|suppression]

DIE_BEFORE_SAVE is the chance, at every save, that the process kills itself first. `--without` takes
a protection away, to show that the test notices.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from runtime.bus import Bus
from runtime.config import Settings
from runtime.host import PartitionHost, Said
from runtime.subjects import load_subjects
from runtime.worker import Worker, run_worker

ROOT = Path(__file__).parents[2]


def die_before_save(chance: float) -> None:
    save = PartitionHost.save

    async def saved(self: PartitionHost) -> None:
        if random.random() < chance:
            os.kill(os.getpid(), signal.SIGKILL)
        await save(self)

    PartitionHost.save = saved  # type: ignore[method-assign]


def without_fence() -> None:
    async def put_anyway(
        self: Bus, subject: str, data: bytes, last: int, headers: Any = None
    ) -> int:
        return await self.put(subject, data, headers)

    Bus.put_expecting = put_anyway  # type: ignore[method-assign]


def without_suppression() -> None:
    end_of = PartitionHost._end_of

    async def forgetful(self: PartitionHost, stream: str, subject: str) -> Said:
        return Said((await end_of(self, stream, subject)).sequence, (0, 0))

    PartitionHost._end_of = forgetful  # type: ignore[method-assign]


def main() -> None:
    url, functions_dir, chance = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if "fence" in sys.argv[4:]:
        without_fence()
    if "suppression" in sys.argv[4:]:
        without_suppression()
    die_before_save(chance)
    settings = Settings(functions_dir=functions_dir, snapshot_interval_s=0.5, delivery_private=True)

    def ready(worker: Worker) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)

    subjects = load_subjects(ROOT / "subjects.yaml")
    asyncio.run(run_worker(settings, subjects, url, on_ready=ready))


if __name__ == "__main__":
    main()
