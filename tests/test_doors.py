"""Who may import whom: the floors, and one door per foreign library, lazy and type-only imports included."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOORS = {
    "nats": {"runtime/bus.py"},
    "quart": {"runtime/gateway"},
    "hypercorn": {"runtime/gateway"},
    "werkzeug": {"runtime/gateway"},
    "jwt": {"runtime/gateway"},
    "polars": {"runtime/tables.py"},
    "prometheus_client": {"runtime/telemetry.py"},
    "opentelemetry": {"runtime/tracing.py"},
    "structlog": {"runtime/telemetry.py"},
    "pydantic_settings": {"runtime/config.py"},
    "yaml": {"runtime/subjects.py"},
    "aiosmtplib": {"runtime/outbound.py"},
    "httpcore": {"runtime/targets.py"},
    "asyncpg": {"runtime/store.py"},
    "redis": {"runtime/redis_mirror.py", "runtime/redis_limits.py", "runtime/redis_answers.py"},
    "argon2": {"runtime/gateway/passwords.py"},
    "click": {"runtime/cli.py", "runtime/dev.py"},
    "watchfiles": {"runtime/worker.py"},
}
CODE = sorted([*ROOT.glob("runtime/**/*.py"), *ROOT.glob("functions/**/*.py")])


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("library", DOORS)
def test_a_foreign_library_has_one_door(library: str) -> None:
    for file in CODE:
        place = file.relative_to(ROOT).as_posix()
        if any(name.partition(".")[0] == library for name in imported(file)):
            assert any(place == door or place.startswith(door + "/") for door in DOORS[library]), (
                place
            )


def test_functions_import_only_the_public_names_of_the_runtime_and_never_one_another() -> None:
    for file in ROOT.glob("functions/**/*.py"):
        for name in imported(file):
            top, _, rest = name.partition(".")
            assert not (top == "runtime" and rest), (file.name, name)
            if top == "functions":
                assert rest.partition(".")[0] in ("market", "rules", "users"), (file.name, name)


def test_the_floors_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_every_name_of_subjects_yaml_is_used() -> None:
    from runtime.subjects import load_subjects

    subjects = load_subjects(ROOT / "subjects.yaml")
    code = "".join(file.read_text(encoding="utf-8") for file in CODE)
    for base in subjects.subjects:
        assert base in code or base.rpartition(".")[0] in code, base
    assert {one.record for one in subjects.subjects.values()} == set(subjects.records)
    for bucket in subjects.buckets:
        assert f'"{bucket}"' in code or any(
            one.bucket == bucket for one in subjects.subjects.values()
        )
