"""The embedded nats-server: one per data directory, gone with its launcher, clear when it cannot run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from runtime import embedded
from runtime.bus import Bus
from runtime.embedded import EmbeddedError, EmbeddedNats
from runtime.provision import provision
from runtime.subjects import Subjects

LAUNCHER = """\
import asyncio, sys
from pathlib import Path
from runtime.embedded import EmbeddedNats

async def main():
    server = await EmbeddedNats.start(Path(sys.argv[1]))
    print(server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    """Whether the process lives; one that ended and was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def ended(pid: int, within_s: float = 10.0) -> bool:
    for _ in range(int(within_s / 0.02)):
        if not is_running(pid):
            return True
        await asyncio.sleep(0.02)
    return False


def shell(path: Path, body: str) -> str:
    """A program that stands where nats-server should."""
    path.write_text("#!/bin/sh\n" + body, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path, subjects: Subjects) -> None:
    first = await EmbeddedNats.start(tmp_path)
    bus = await Bus.connect(first.url, "test")
    await provision(bus, subjects)
    await bus.put("dead.bars", b"kept")
    await bus.close()
    await first.stop()

    second = await EmbeddedNats.start(tmp_path)
    bus = await Bus.connect(second.url, "test")
    try:
        found = await bus.last("DEAD", "dead.bars")
        assert found is not None
        assert found.data == b"kept"
    finally:
        await bus.close()
        await second.stop()


async def test_stopping_ends_the_server_and_frees_the_directory(tmp_path: Path) -> None:
    server = await EmbeddedNats.start(tmp_path)
    pid = server.pid
    await server.stop()
    assert not is_running(pid)
    assert not (tmp_path / "nats" / "nats.pid").exists()
    again = await EmbeddedNats.start(tmp_path)
    await again.stop()


async def test_instances_with_their_own_directories_run_side_by_side(tmp_path: Path) -> None:
    one = await EmbeddedNats.start(tmp_path / "one")
    two = await EmbeddedNats.start(tmp_path / "two")
    try:
        assert one.url != two.url
        assert is_running(one.pid)
        assert is_running(two.pid)
    finally:
        await one.stop()
        await two.stop()


async def test_a_second_instance_on_one_directory_is_refused_and_the_first_runs_on(
    tmp_path: Path,
) -> None:
    server = await EmbeddedNats.start(tmp_path)
    try:
        with pytest.raises(EmbeddedError, match=r"another instance runs on .*JETSCAN_DATA_DIR"):
            await EmbeddedNats.start(tmp_path)
        bus = await Bus.connect(server.url, "test")
        assert bus.connected
        await bus.close()
    finally:
        await server.stop()


async def test_it_listens_on_loopback_on_the_port_asked_for(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = await EmbeddedNats.start(tmp_path, port)
    try:
        assert server.url == f"nats://127.0.0.1:{port}"
    finally:
        await server.stop()


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} is in use"):
            await EmbeddedNats.start(tmp_path, port)


async def test_a_directory_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.touch()
    with pytest.raises(EmbeddedError, match=r"a-file/nats cannot be written.*JETSCAN_DATA_DIR"):
        await EmbeddedNats.start(file)


async def test_a_missing_binary_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedError, match="no nats-server; run `make install`"):
        await EmbeddedNats.start(tmp_path / "data")


async def test_a_server_that_ends_at_start_is_quoted_and_the_directory_is_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shell(tmp_path / "ends", "echo the disk is on fire >&2; exit 1\n")
    with monkeypatch.context() as replaced:
        replaced.setattr(embedded, "binary", lambda: program)
        with pytest.raises(EmbeddedError, match=r"ended at start: .*the disk is on fire"):
            await EmbeddedNats.start(tmp_path / "data")
    server = await EmbeddedNats.start(tmp_path / "data")
    await server.stop()


async def test_a_server_that_never_listens_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shell(tmp_path / "silent", "exec sleep 60\n")
    monkeypatch.setattr(embedded, "binary", lambda: program)
    monkeypatch.setattr(embedded, "START_S", 0.2)
    with pytest.raises(EmbeddedError, match=r"does not listen within 0\.2 s"):
        await EmbeddedNats.start(tmp_path / "data")


async def test_a_server_that_ignores_the_request_to_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await EmbeddedNats.start(tmp_path)
    os.kill(server.pid, signal.SIGSTOP)  # a stopped process keeps SIGTERM pending
    monkeypatch.setattr(embedded, "STOP_S", 0.2)
    await server.stop()
    assert not is_running(server.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_a_killed_launcher_takes_its_server_along_and_the_next_one_starts(
    tmp_path: Path,
) -> None:
    launcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAUNCHER, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert launcher.stdout is not None
    pid = int(await launcher.stdout.readline())
    launcher.kill()
    await launcher.wait()
    assert await ended(pid)
    server = await EmbeddedNats.start(tmp_path)
    await server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="a pid's command is read from /proc")
async def test_a_stale_pid_of_a_stranger_is_left_alone(tmp_path: Path) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        (tmp_path / "nats").mkdir()
        (tmp_path / "nats" / "nats.pid").write_text(str(stranger.pid), encoding="utf-8")
        server = await EmbeddedNats.start(tmp_path)
        await server.stop()
        assert is_running(stranger.pid)
    finally:
        stranger.kill()
        await stranger.wait()


def test_the_binary_is_that_of_the_wheel_beside_this_python() -> None:
    assert Path(embedded.binary()).parent == Path(sys.executable).parent
