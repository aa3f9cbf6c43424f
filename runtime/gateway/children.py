"""Work of minutes in processes of its own: `jetscan` with the gateway's settings, low priority, limits.

A child is lower in priority than anything live, may not take more memory than it is given, ends with the
gateway, and is killed when its time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import launch
from runtime.config import PREFIX, SECRETS, Settings

NICE = 15
MEMORY_BYTES_MAX = 8 << 30  # of addresses: libraries reserve some they never use
OUTPUT_BYTES_MAX = 4 << 20
STOP_S = 5.0
# Production asks for secrets; a child that reads what was recorded signs in to NATS as we do.
UNSHARED = (SECRETS - {"nats_password"}) | {"mode", "port", "host"}


class TooLong(RuntimeError):
    """The child did not end in time; it was killed."""


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """Its last words, without the name of the command."""
        lines = [one for one in self.errors.strip().splitlines() if one.strip()]
        if self.code < 0:
            return f"it was ended by signal {-self.code}: too much memory, or somebody killed it"
        told = next((one for one in reversed(lines) if one.startswith("jetscan: ")), "")
        last = told or (lines[-1] if lines else f"it ended with {self.code} and said nothing")
        return last.removeprefix("jetscan: ")[:1_000]


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment in which `jetscan` has these settings, without secrets it does not need."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for name in type(settings).model_fields.keys() - UNSHARED:
        kept[PREFIX + name.upper()] = _written(getattr(settings, name))
    kept[PREFIX + "LOG_LEVEL"] = "error"
    return kept


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict) else str(value)


async def run_child(
    settings: Settings, words: Sequence[str], most_s: float, folder: Path | None = None
) -> Ended:
    """Run `jetscan WORDS` to its end; raises TooLong. Cancelled, it ends the child."""
    process = await asyncio.create_subprocess_exec(
        *launch.command(
            *(sys.executable, "-m", "runtime.cli", *words),
            ends_with=signal.SIGKILL,
            nice=NICE,
            memory_bytes=MEMORY_BYTES_MAX,
        ),
        env=environment_of(settings),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(most_s):
            output, errors, code = await asyncio.gather(
                _read(process.stdout), _read(process.stderr), process.wait()
            )
    except TimeoutError:
        raise TooLong(f"it took longer than {most_s:g} s") from None
    finally:
        await _end(process)
    return Ended(code, output, errors)


async def _read(stream: asyncio.StreamReader | None) -> str:
    """What a child says; what is beyond the limit is read and dropped, so that it does not wait."""
    parts, size = [], 0
    while stream is not None and (part := await stream.read(1 << 16)):
        if size < OUTPUT_BYTES_MAX:
            parts.append(part)
            size += len(part)
    return b"".join(parts).decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_S)
