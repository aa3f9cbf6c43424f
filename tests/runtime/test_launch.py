"""Programs that end with their parent, with less than it may do."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime import launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can do this")
SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
WHO = "import os, resource; print(os.getuid(), os.nice(0), *resource.getrlimit(resource.RLIMIT_AS))"


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        launch.command(sys.executable, *words, **options),
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_program_is_the_process_that_was_started() -> None:
    with subprocess.Popen(
        launch.command(sys.executable, "-c", "import os; print(os.getpid())"),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) == process.pid


def test_its_words_reach_it_whatever_they_look_like() -> None:
    told = run("-c", "import sys; print(sys.argv[1:])", "--parent=1", "--", "-x", "")
    assert told.stdout.strip() == "['--parent=1', '--', '-x', '']"


@pytest.mark.parametrize("user", ["", launch.ROOTLESS])
def test_it_ends_when_its_parent_is_killed(tmp_path: Path, user: str) -> None:
    if user and os.geteuid():
        pytest.skip("only root needs another user")
    mark = tmp_path / "pid"
    child = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    starter = (
        "import subprocess, sys; from runtime import launch\n"
        f"subprocess.run(launch.command(sys.executable, '-c', {child!r}, {str(mark)!r}, user={user!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", starter]) as parent:
        until = time.monotonic() + 30
        while not (mark.exists() and mark.read_text()):
            assert time.monotonic() < until
            time.sleep(0.01)
        pid = int(mark.read_text())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    while _runs(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_it_does_not_start_for_a_parent_that_has_ended() -> None:
    words = launch.command(*SLEEP)
    words[words.index(f"--parent={os.getpid()}")] = "--parent=1"
    ended = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert ended.returncode == launch.REFUSED
    assert "its parent has ended already" in ended.stderr


def test_a_program_that_cannot_run_is_named() -> None:
    ended = subprocess.run(
        launch.command("/no/such/program"), capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == launch.REFUSED
    assert "/no/such/program cannot be started" in ended.stderr


def test_it_is_lower_in_priority_and_bounded_where_asked() -> None:
    before, memory = os.nice(0), 4 << 30
    who, nice, soft, hard = run("-c", WHO, nice=3, memory_bytes=memory).stdout.split()
    assert (int(who), int(nice)) == (os.getuid(), min(before + 3, 19))
    assert (int(soft), int(hard)) == (memory, memory)
    who, nice, soft, _ = run("-c", WHO).stdout.split()
    assert (int(nice), int(soft)) == (before, resource.getrlimit(resource.RLIMIT_AS)[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
def test_root_is_nobodys_root() -> None:
    told = run("-c", WHO, user=launch.ROOTLESS)
    if told.returncode == launch.REFUSED:
        assert "no user namespace" in told.stderr  # forbidden here, and it says so
    else:
        assert told.stdout.split()[0] == "1000"
    # Not our Python: nobody may not be let into its folder.
    words = launch.command("/usr/bin/id", "-u", user=launch.AS_NOBODY)
    assert subprocess.run(words, capture_output=True, timeout=30).stdout == b"65534\n"


def test_the_signal_is_the_one_asked_for(tmp_path: Path) -> None:
    mark = tmp_path / "got"
    child = (
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (pathlib.Path(sys.argv[1]).write_text('usr1'), sys.exit()))\n"
        "print('ready', flush=True); signal.pause()"
    )
    starter = (
        "import signal, subprocess, sys; from runtime import launch\n"
        f"subprocess.run(launch.command(sys.executable, '-c', {child!r}, {str(mark)!r}, ends_with=signal.SIGUSR1))"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while not mark.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
