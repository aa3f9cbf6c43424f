"""`jetscan dev`: what it starts, it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

from runtime.dev import _without_database
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.supervisor import Supervisor


async def test_a_database_that_comes_up_while_the_rest_stops_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    supervisor = Supervisor({}, tmp_path / "logs", lambda _: None)
    address = tmp_path / "postgres.url"

    async def starting() -> EmbeddedPostgres | None:
        await asyncio.sleep(0)  # stopped meanwhile
        address.write_text("postgresql://", encoding="utf-8")
        supervisor.start("history", "--version")
        return None

    await supervisor.stop_all()
    await _without_database(asyncio.create_task(starting()), tmp_path, supervisor)
    assert not supervisor._processes
    assert not address.exists()
