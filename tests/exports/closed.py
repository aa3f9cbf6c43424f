"""A nats-server on which everybody may only what is exported, and a deployment of every part on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import launch
from runtime.bus import Bus
from runtime.credentials import signed
from runtime.embedded import binary
from runtime.exports.nats_permissions import configuration, password_variable

CONFIG = """\
listen: 127.0.0.1:-1
server_name: closed
max_payload: 8MB
jetstream {{ store_dir: {store} }}
feature_flags {{ js_ack_fc_v2: false }}
"""
START_S = 20.0


@dataclass
class Closed:
    """A server, and where each user reaches it."""

    address: str
    passwords: Mapping[str, str]
    log: Path

    def url(self, user: str) -> str:
        return signed(self.address, user, self.passwords[user])

    async def connect(self, user: str) -> Bus:
        return await Bus.connect(self.url(user), user)

    def violations(self) -> list[str]:
        """What the server refused so far, in its own words."""
        text = self.log.read_text(encoding="utf-8")
        return [line for line in text.splitlines() if "Violation" in line]


@contextlib.asynccontextmanager
async def closed_server(
    directory: Path, permissions: dict[str, dict[str, Any]]
) -> AsyncIterator[Closed]:
    """The server, from the configuration that `jetscan export nats-permissions` prints."""
    directory.mkdir(parents=True)
    passwords = {user: "p" + secrets.token_hex(12) for user in permissions}
    config, log = directory / "nats.conf", directory / "nats.log"
    text = CONFIG.format(store=json.dumps(str(directory))) + configuration(permissions)
    config.write_text(text, encoding="utf-8")
    known = {password_variable(user): password for user, password in passwords.items()}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *launch.command(binary(), "-c", str(config), "--ports_file_dir", str(directory)),
            env={**os.environ, **known},
            stdout=output,
            stderr=output,
        )
    try:
        yield Closed(await _address(directory, process), passwords, log)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def _address(directory: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(START_S):
        while process.returncode is None:
            for file in directory.glob("nats-server_*.ports"):
                with contextlib.suppress(ValueError):
                    return str(json.loads(file.read_text(encoding="utf-8"))["nats"][0])
            await asyncio.sleep(0.02)
    raise AssertionError((directory / "nats.log").read_text(encoding="utf-8"))
