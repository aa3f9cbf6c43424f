"""A gateway over real servers: NATS and, where a test wants one, PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
from quart import Quart

from runtime.bus import Bus
from runtime.config import Settings
from runtime.embedded import EmbeddedNats
from runtime.gateway.app import create_app
from runtime.gateway.gateway import Gateway
from runtime.gateway.server import bound_socket, run_server
from runtime.loader import load_plan
from runtime.provision import provision
from runtime.store import Store
from runtime.subjects import Subjects, load_subjects
from runtime.worker import Worker
from tests.conftest import ROOT


@dataclass
class Running:
    """A gateway that answers, and what it stands on."""

    bus: Bus
    subjects: Subjects
    gateway: Gateway
    settings: Settings
    http: httpx.AsyncClient
    store: Store
    app: Quart

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of a GET that succeeds."""
        answer = await self.http.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, method: str, path: str, status: int, body: Any = None) -> str:
        """What the problem of a refused request says."""
        answer = await self.http.request(method, f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        return str(answer.json()["detail"])


SECRET = "s" * 32


@contextlib.contextmanager
def as_trader(made: Running) -> Iterator[None]:
    """Within it requests are those of somebody who may see what is shared, and no more."""
    token = jwt.encode({"sub": "zoe", "exp": 9_999_999_999}, SECRET, "HS256")
    made.http.headers["Authorization"] = f"Bearer {token}"
    try:
        yield
    finally:
        del made.http.headers["Authorization"]


@contextlib.asynccontextmanager
async def running(directory: Path, database_url: str = "", **more: Any) -> AsyncIterator[Running]:
    """A gateway with the functions of this project; `more` are further settings."""
    subjects = load_subjects(ROOT / "subjects.yaml")
    server = await EmbeddedNats.start(directory / "nats")
    settings = Settings(
        nats_url=server.url,
        database_url=database_url,
        data_dir=str(directory / "data"),
        functions_dir=str(ROOT / "functions"),
        subjects_file=str(ROOT / "subjects.yaml"),
        **more,
    )
    bus = await Bus.connect(server.url, "gateway")
    await provision(bus, subjects)
    store = Store(database_url)
    plan = load_plan(ROOT / "functions", subjects)
    accepts = {k: v for one in plan.functions for k, v in one.declaration.accepts.items()}
    gateway = Gateway(settings, subjects, bus, accepts)
    try:
        app = create_app(gateway)
        async with served(gateway, app) as http:
            yield Running(bus, subjects, gateway, settings, http, store, app)
    finally:
        await store.close()
        await bus.close()
        await server.stop()


@contextlib.asynccontextmanager
async def served(gateway: Gateway, app: Quart | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that follows its streams until the block ends."""
    following = asyncio.create_task(gateway.run(None))
    listening = bound_socket("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    stopping = asyncio.Event()
    made = app or create_app(gateway)
    serving = asyncio.create_task(run_server(made, listening, stopping.wait))
    async with httpx.AsyncClient(base_url=address, timeout=30) as http:
        while (await http.get("/ready")).status_code != 200:
            await asyncio.sleep(0.02)
        yield http
    stopping.set()
    await serving
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@contextlib.asynccontextmanager
async def hosted(made: Running) -> AsyncIterator[None]:
    """A worker that hosts the functions beside it."""
    bus = await Bus.connect(made.settings.nats_url, "worker")
    control = await Bus.connect(made.settings.nats_url, "control")
    worker = Worker(Settings(functions_dir=str(ROOT / "functions")), made.subjects, bus, control)
    work = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await work
        await bus.close()
        await control.close()
