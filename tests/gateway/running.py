"""A running gateway with settings of the test's choice: real NATS, real database, real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from functions.rules import check_rules
from runtime.bus import Bus
from runtime.config import Settings
from runtime.gateway.app import create_app
from runtime.gateway.gateway import Gateway
from runtime.gateway.server import bound_socket, run_server
from runtime.subjects import Subjects
from tests.conftest import Nats

SECRET = "s" * 32
PASSWORD = "correct horse battery"


@dataclass
class Gate:
    """A gateway and a client of it."""

    gateway: Gateway
    http: httpx.AsyncClient
    address: str

    async def login(self, user: str, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
        body = {"user_id": user, "password": password, **more}
        answer = await self.http.post("/api/v1/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask(self, token: str, path: str = "/api/v1/rules", method: str = "GET") -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return (await self.http.request(method, path, headers=headers)).status_code


@contextlib.asynccontextmanager
async def running(nats: Nats, subjects: Subjects, settings: Settings) -> AsyncIterator[Gate]:
    bus = await Bus.connect(nats.url, "gateway")
    gateway = Gateway(settings, subjects, bus, {"control": check_rules})
    following = asyncio.create_task(gateway.run(None))
    listening = bound_socket("127.0.0.1", 0)
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    stopping = asyncio.Event()
    serving = asyncio.create_task(run_server(create_app(gateway), listening, stopping.wait))
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:
        async with asyncio.timeout(20):
            while (await http.get("/ready")).status_code != 200:
                await asyncio.sleep(0.02)
        yield Gate(gateway, http, address)
    stopping.set()
    await serving
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await bus.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
