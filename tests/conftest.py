"""Real parts for tests: a nats-server of their own, provisioned, on a free port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.bus import Bus
from runtime.embedded import EmbeddedNats
from runtime.provision import provision
from runtime.subjects import Subjects, load_subjects

ROOT = Path(__file__).parent.parent


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
