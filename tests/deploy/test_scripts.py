"""Scripts that deploy: verify.sh looks at a real deployment; the others are told to a Docker that only writes down."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_docs import blocks_of

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@dataclass
class Deployment:
    """A running `jetscan dev` and what a script needs to find it."""

    process: subprocess.Popen[str]
    gateway: str
    environment: dict[str, str]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """What a command says and how it ends."""
        return subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment | environment,
            timeout=150,
        )

    def verified(self, tries: int) -> subprocess.CompletedProcess[str]:
        script = str(ROOT / "deploy" / "verify.sh")
        return self.run(script, JETSCAN="jetscan", GATEWAY=self.gateway, TRIES=str(tries))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    program = folder / "jetscan"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m runtime.cli "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "JETSCAN_DATA_DIR": str(folder / "data"),
        "JETSCAN_FUNCTIONS_DIR": str(ROOT / "functions"),
        "JETSCAN_SUBJECTS_FILE": str(ROOT / "subjects.yaml"),
        "JETSCAN_MIGRATIONS_DIR": str(ROOT / "migrations"),
        "JETSCAN_PORT": str(free_port()),
    }
    words = ("dev", "--feed", "sim://?symbols=20&seed=7&warm=2m", "--workers", "1")
    with subprocess.Popen(
        [program, *words], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = next(filter(None, map(ADDRESS.search, process.stdout)))
            yield Deployment(process, found[0], environment)
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def blocks(label: str) -> list[str]:
    found = [one.text for one in blocks_of(ROOT / "docs" / "quickstart.md") if one.label == label]
    assert found
    return found


def test_a_deployment_that_works_is_verified(deployment: Deployment) -> None:
    done = deployment.verified(tries=15)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == [
        "ok  gateway is ready",
        "ok  streams are as written",
        "ok  tables are newest",
        "ok  every unit is hosted",
        "ok  data moves",
    ]


def test_the_quick_start_does_what_it_says_on_a_live_deployment(deployment: Deployment) -> None:
    script = "\n".join(blocks("live")).replace("http://127.0.0.1:8090", deployment.gateway)
    done = deployment.run("bash", "-euo", "pipefail", "-c", script)
    assert done.returncode == 0, done.stdout
    assert "Fires as soon as the price is above $1" in done.stdout
    assert '"rule_name":"First rule"' in done.stdout.replace('": "', '":"')


def test_the_quick_start_does_what_it_says_without_a_server(
    deployment: Deployment, tmp_path: Path
) -> None:
    script = f"cd {tmp_path}\n" + "\n".join(blocks("offline"))
    done = deployment.run("bash", "-euo", "pipefail", "-c", script)
    assert done.returncode == 0, done.stdout
    assert '"symbol":"AAPL"' in done.stdout.replace('": "', '":"')


def test_a_deployment_that_ended_is_not_verified(deployment: Deployment) -> None:
    """The last of them: it ends what the others look at."""
    deployment.process.terminate()
    deployment.process.wait()
    done = deployment.verified(tries=1)
    assert done.returncode == 1
    assert "gateway is ready: no" in done.stdout


# -- a Docker that only writes down what it is told

DOCKER = """\
#!/usr/bin/env bash
echo "TAG=${TAG:-} $*" >>"$CALLS"
case "$*" in
*"dead list"*) echo '[]' ;;
*"ps --status"*) echo "${CANARY_HEALTH:-healthy}" ;;
esac
"""
VERIFY = """\
#!/usr/bin/env bash
echo verify >>"$CALLS"
fails=$(cat fails 2>/dev/null || echo 0)
((fails == 0)) && exit 0
echo $((fails - 1)) >fails
exit 1
"""


@dataclass
class Place:
    """A folder with the scripts, a Docker that obeys and a verification that fails as often as told."""

    folder: Path

    def run(
        self, *words: str, fails: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "fails").write_text(str(fails))
        return subprocess.run(
            [str(self.folder / "deploy" / words[0]), *words[1:]],
            capture_output=True,
            text=True,
            env={
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "CALLS": str(self.folder / "calls"),
                "CANARY_S": "0",
                **environment,
            },
        )

    @property
    def calls(self) -> list[str]:
        """What Docker was told, shortly, and when it was verified."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.replace("compose -f docker-compose.nats.yaml ", "") for line in lines]

    @property
    def settings(self) -> dict[str, str]:
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "bin").mkdir()
    (tmp_path / "deploy").mkdir()
    for name in ("compose.sh", "deploy.sh", "rollout.sh", "secrets.sh"):
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy")
    for file, text in (("bin/docker", DOCKER), ("deploy/verify.sh", VERIFY)):
        (tmp_path / file).write_text(text)
        (tmp_path / file).chmod(0o755)
    (tmp_path / ".env").write_text("FEED=sim://?symbols=9\nIMAGE=registry.example/jetscan\nTAG=1\n")
    return Place(tmp_path)


def test_servers_come_first_then_streams_and_tables_then_parts(place: Place) -> None:
    done = place.run("deploy.sh")
    assert done.returncode == 0, done.stderr
    assert place.calls == [
        "TAG= pull worker",
        "TAG= up --detach --wait nats timescaledb redis",
        "TAG= run --rm --no-deps provision",
        "TAG= run --rm --no-deps migrate",
        "TAG= up --detach",
        "verify",
    ]
    assert (place.folder / "deploy" / "secrets" / "jwt_secret").exists()


def test_a_deployment_without_a_feed_does_not_begin(place: Place) -> None:
    (place.folder / ".env").write_text("TAG=1\n")
    done = place.run("deploy.sh")
    assert done.returncode == 1
    assert "expected FEED in .env" in done.stderr
    assert not (place.folder / "calls").exists()


def test_a_version_whose_canary_does_runs_everywhere(place: Place) -> None:
    done = place.run("rollout.sh", "2")
    assert done.returncode == 0, done.stderr
    told = [call for call in place.calls if "dead list" not in call and " ps " not in call]
    assert told == [
        "TAG=2 pull worker",
        "TAG=2 run --rm --no-deps migrate",
        "TAG=2 run --rm --no-deps provision",
        "TAG= --profile canary up --detach --no-deps --wait canary",
        "verify",
        "TAG= up --detach --no-deps worker history ingest gateway",
        "verify",
        "TAG= --profile canary rm --stop --force canary",
    ]
    assert place.settings["TAG"] == "2"
    assert place.settings["TAG_BEFORE"] == "1"
    assert place.settings["FEED"] == "sim://?symbols=9"


@pytest.mark.parametrize(("health", "fails"), [("unhealthy", 0), ("healthy", 1)])
def test_a_canary_that_does_not_do_is_removed_and_nothing_else_changes(
    place: Place, health: str, fails: int
) -> None:
    done = place.run("rollout.sh", "2", fails=fails, CANARY_HEALTH=health)
    assert done.returncode == 1
    assert "1 runs as before" in done.stderr
    assert place.settings["TAG"] == "1"
    assert place.calls[-1] == "TAG= --profile canary rm --stop --force canary"
    assert not any(call.endswith("worker history ingest gateway") for call in place.calls)


def test_a_version_that_does_not_work_as_a_whole_is_taken_back(place: Place) -> None:
    second = '[[ $(grep -c verify "$CALLS") != 2 ]] && exit 0'
    script = place.folder / "deploy" / "verify.sh"
    script.write_text(VERIFY.replace("((fails == 0)) && exit 0", second))
    done = place.run("rollout.sh", "2")
    assert done.returncode == 1
    assert "2: did not work as a whole; 1 is back" in done.stderr
    assert place.settings["TAG"] == "1"
    put = [call for call in place.calls if call.endswith("worker history ingest gateway")]
    assert len(put) == 2
    assert "TAG_BEFORE" not in place.settings  # back is to what worked, not to what is there


def test_without_a_registry_the_version_is_what_is_checked_out(place: Place) -> None:
    (place.folder / ".env").write_text("FEED=sim://?symbols=9\nTAG=1\n")
    assert place.run("rollout.sh", "2", TAG="3").returncode == 0
    assert place.calls[0] == "TAG=2 build worker"
    assert place.settings["TAG"] == "2"
    assert not any(call.startswith("TAG=3") for call in place.calls)


def test_back_goes_to_the_version_before(place: Place) -> None:
    assert "expected TAG_BEFORE" in place.run("rollout.sh", "--back").stderr
    place.run("rollout.sh", "2")
    done = place.run("rollout.sh", "--back")
    assert done.returncode == 0, done.stderr
    assert place.settings["TAG"] == "1"


def test_the_version_that_runs_is_not_rolled_out_again(place: Place) -> None:
    assert "1: is what runs" in place.run("rollout.sh", "1").stderr
