"""The image: what it installs, what it copies, and the sample of its settings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from runtime.config import PREFIX, Settings, load_settings, sample_env
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked(file: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes by name of a lock."""
    found = {}
    for block in re.split(r"\n(?=\S)", file.read_text(encoding="utf-8")):
        if match := re.match(r"([\w.-]+)==([^\s;\\]+)", block):
            found[match[1]] = match[2], frozenset(re.findall(r"sha256:\w{64}", block))
    return found


IMAGE = locked(ROOT / "deploy" / "image" / "requirements.txt")
ALL = locked(ROOT / "requirements.txt")


def test_the_image_installs_what_is_tested_and_nothing_that_only_tests_need() -> None:
    for name, (pinned, hashes) in IMAGE.items():
        assert pinned == ALL[name][0], "run `make lock`"
        assert hashes & ALL[name][1], name
    wanted = {re.split(r"[\[<>=;]", one)[0] for one in PROJECT["project"]["dependencies"]}
    assert wanted <= set(IMAGE), "run `make lock`"
    assert not {"mypy", "playwright", "pytest", "ruff"} & set(IMAGE)


def test_the_lock_of_the_image_is_made_by_make_lock() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlock:")[1]
    assert "-o deploy/image/requirements.txt pyproject.toml deploy/image/requirements.in" in recipe


def test_both_stages_are_one_python_which_the_project_takes() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(stages) == 2
    assert set(stages) == {"python:3.11.16-slim-bookworm"}
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_what_is_copied_is_let_into_the_context() -> None:
    let_in = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        copied |= set(line.split())
    assert copied == let_in
    assert all((ROOT / one).exists() for one in copied)
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= copied


def test_it_runs_as_nobody_special_with_settings_that_exist() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["1000:1000"]
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bJETSCAN_[A-Z_]+", DOCKERFILE)) <= known


def test_the_sample_of_settings_has_every_one_at_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [one[1:].partition("=") for one in sample_env() if one.startswith(f"#{PREFIX}")]
    assert len(lines) == len(Settings.model_fields)
    for name, _, value in lines:
        monkeypatch.setenv(name, value)
    assert load_settings() == Settings()
