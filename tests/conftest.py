"""Real parts for tests: a nats-server of their own, provisioned, on a free port."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import structlog

from runtime.bus import Bus
from runtime.embedded import EmbeddedNats
from runtime.loader import load_plan
from runtime.migrate import load_migrations, migrate
from runtime.provision import provision
from runtime.store import Store
from runtime.subjects import Subjects, load_subjects

ROOT = Path(__file__).parent.parent
POSTGRES = """\
import asyncio, sys
from pathlib import Path
from runtime.embedded_postgres import EmbeddedPostgres

async def main():
    server = await EmbeddedPostgres.start(Path(sys.argv[1]))
    print(server.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()

asyncio.run(main())
"""


def pytest_configure() -> None:
    """Import the vocabulary as a worker does, before test modules hold classes of it."""
    load_plan(ROOT / "functions", load_subjects(ROOT / "subjects.yaml"))


@pytest.fixture(scope="session")
def subjects() -> Subjects:
    return load_subjects(ROOT / "subjects.yaml")


@dataclass
class Nats:
    """A server and a connection to it; its streams are provisioned."""

    server: EmbeddedNats
    bus: Bus
    directory: Path

    @property
    def url(self) -> str:
        return self.server.url


@pytest.fixture
async def nats(tmp_path: Path, subjects: Subjects) -> AsyncIterator[Nats]:
    server = await EmbeddedNats.start(tmp_path / "data")
    bus = await Bus.connect(server.url, "test")
    await provision(bus, subjects)
    try:
        yield Nats(server, bus, tmp_path)
    finally:
        await bus.close()
        await server.stop()


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """A command run in the process of the tests has set the log up for its own streams."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL for the whole run, in a process of its own."""
    command = [sys.executable, "-c", POSTGRES, str(tmp_path_factory.mktemp("postgres"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as launcher:
        assert launcher.stdout is not None
        yield launcher.stdout.readline().strip()
        launcher.communicate()


NUMBERS = itertools.count(1)


async def database_in(url: str, template: str = "template0") -> str:
    """A new database in a server: its address."""
    name = f"test_{os.getpid()}_{next(NUMBERS)}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.close()
    head, _, tail = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{tail}"


@pytest.fixture(params=["embedded", "timescale"])
async def empty(request: pytest.FixtureRequest) -> str:
    """The address of a database with nothing in it, on each kind of server there is."""
    if request.param == "timescale":
        server = os.environ.get("TEST_TIMESCALE_DSN", "")
        if not server:
            pytest.skip("TEST_TIMESCALE_DSN is not set: nothing is said about TimescaleDB")
    else:
        server = request.getfixturevalue("postgres")
    return await database_in(server)


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """The name of a migrated database that others are copied from."""

    async def make() -> str:
        url = await database_in(postgres)
        store = Store(url)
        await migrate(store, load_migrations(ROOT / "migrations"))
        await store.close()
        return url.partition("?")[0].rpartition("/")[2]

    return asyncio.run(make())


@pytest.fixture
async def store(postgres: str, template: str) -> AsyncIterator[Store]:
    """A migrated database of one test."""
    store = Store(await database_in(postgres, template))
    try:
        yield store
    finally:
        await store.close()
