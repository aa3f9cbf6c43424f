"""Kill, freeze, cut, restart, add and drain real processes: what they say is what one calm run says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from runtime.embedded import binary
from tests.exactly_once.chaos import ROOT, Chaos, Server

CHAOS_S = float(os.environ.get("CHAOS_S", "15"))
CHAOS_SEED = int(os.environ.get("CHAOS_SEED", "1"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(600)
async def test_every_output_comes_once_and_in_order_whatever_fails(tmp_path: Path) -> None:
    server = Server(binary(), tmp_path, free_port())
    chaos = Chaos(server, ROOT / "functions", CHAOS_SEED, log=tmp_path / "workers.log")
    assert await chaos.run(CHAOS_S) == []
    assert sum(chaos.counts.values()) > 5
