"""Workflows: what they run exists, what they use is a commit, and they may no more than they say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def workflow(file: Path) -> dict[str, Any]:
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    found["on"] = found.pop(True)  # YAML 1.1 takes `on` for a truth
    return dict(found)


each_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@each_workflow
def test_actions_are_commits_and_one_action_is_one_commit(file: Path) -> None:
    everywhere = "\n".join(one.read_text(encoding="utf-8") for one in FILES)
    for used in re.findall(r"uses: (\S+)", file.read_text(encoding="utf-8")):
        if used.startswith("./"):
            assert (ROOT / used).exists()
            continue
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", used), used
        assert set(re.findall(rf"{used.split('@')[0]}@\S+", everywhere)) == {used}
        assert re.search(rf"{used} # v\d+\.\d+\.\d+\n", everywhere), f"{used}: of which version?"


@each_workflow
def test_nothing_is_permitted_that_a_job_does_not_ask_for(file: Path) -> None:
    found = workflow(file)
    assert found["permissions"] == {}
    for name, job in found["jobs"].items():
        assert job["permissions"], name
        assert "uses" in job or job["timeout-minutes"] <= 60, name


@each_workflow
def test_a_pull_request_can_write_nothing(file: Path) -> None:
    found = workflow(file)
    assert "pull_request_target" not in found["on"]
    if "pull_request" in found["on"]:
        for job in found["jobs"].values():
            writes = [name for name, what in job["permissions"].items() if what == "write"]
            assert not writes or "inputs.version" in job["if"]


@each_workflow
def test_what_is_run_exists(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for words in re.findall(r"(?:run: |^ +)make ([a-z -]+)", text, re.MULTILINE):
        for target in words.split():
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    for script in re.findall(r"\bdeploy/[\w-]+\.sh", text):
        assert (ROOT / script).stat().st_mode & 0o111, script
    for path in re.findall(r"\btests/[\w/]+\.py", text):
        assert (ROOT / path).exists(), path


def test_every_python_that_is_supported_is_tested() -> None:
    matrix = workflow(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]


def test_timescale_is_tested_in_the_version_that_is_deployed() -> None:
    job = workflow(ROOT / ".github/workflows/ci.yml")["jobs"]["timescale"]
    compose = yaml.safe_load((ROOT / "docker-compose.nats.yaml").read_text(encoding="utf-8"))
    deployed = compose["services"]["timescaledb"]["image"]
    assert job["services"]["timescaledb"]["image"].split("@")[0] == deployed


def test_locks_and_images_are_looked_after_every_week() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    assert {one["package-ecosystem"] for one in updates} == {
        *("github-actions", "docker", "docker-compose", "npm", "pip")
    }
    assert all(one["schedule"] == {"interval": "weekly"} for one in updates)
    assert all((ROOT / one["directory"].lstrip("/")).is_dir() for one in updates)


# -- notes of a release


def notes(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    (folder / "deploy").mkdir(exist_ok=True)
    script = folder / "deploy" / "changelog.sh"
    script.write_text((ROOT / "deploy" / "changelog.sh").read_text())
    script.chmod(0o755)
    (folder / "pyproject.toml").write_text('version = "1.2.0"\n')
    (folder / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n- later\n\n## 1.2.0 (2026-11-25)\n\n### Added\n\n- this\n\n"
        "## 1.2.0-rc (2026-11-20)\n\n- before\n"
    )
    return subprocess.run([script, version], capture_output=True, text=True)


def test_a_release_says_what_the_changelog_says_of_it(tmp_path: Path) -> None:
    done = notes(tmp_path, "1.2.0")
    assert done.returncode == 0
    assert done.stdout.split() == ["###", "Added", "-", "this"]


def test_a_tag_of_another_version_than_the_package_is_no_release(tmp_path: Path) -> None:
    done = notes(tmp_path, "1.3.0")
    assert done.returncode == 1
    assert "expected version 1.3.0 in pyproject.toml, found 1.2.0" in done.stderr


def test_a_version_without_notes_is_no_release(tmp_path: Path) -> None:
    notes(tmp_path, "1.2.0")
    (tmp_path / "CHANGELOG.md").write_text("## 1.2.0\n\n## 1.1.0\n\n- old\n")
    done = subprocess.run(
        [tmp_path / "deploy" / "changelog.sh", "1.2.0"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "expected a heading '## 1.2.0 (DATE)'" in done.stderr
