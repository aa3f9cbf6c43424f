"""The chart as `helm template` renders it: objects by value set."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

CHART = ROOT / "helm"
SETS = ["", *sorted(file.name for file in (CHART / "ci").glob("*.yaml"))]
Thing = dict[str, Any]


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    """Run helm; skips where its wheel is not to be had."""
    beside = Path(sysconfig.get_path("scripts")) / "helm"
    program = str(beside) if beside.exists() else shutil.which("helm")
    if program is None:
        pytest.skip("no helm for this machine: nothing is said about the chart")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


@functools.cache
def rendered(values: str = "", *more: str) -> list[Thing]:
    """Everything the chart makes of a value set and further words for helm."""
    given = ("-f", str(CHART / "ci" / values)) if values else ()
    done = helm("template", "jetscan", str(CHART), "--namespace", "market", *given, *more)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def refusal(*more: str) -> str:
    """Why helm does not render these values."""
    done = helm("template", "jetscan", str(CHART), *more)
    assert done.returncode != 0
    return done.stderr


def named(things: list[Thing], kind: str, name: str = "") -> Thing:
    """The one thing of a kind, or of a kind and a name behind the release's."""
    wanted = f"jetscan-{name}" if name else ""
    found = [
        one
        for one in things
        if one["kind"] == kind and (not wanted or one["metadata"]["name"] == wanted)
    ]
    assert len(found) == 1, (kind, name, [one["metadata"]["name"] for one in found])
    return found[0]


def pods(things: list[Thing]) -> list[tuple[str, Thing]]:
    """(name, spec) of every Pod and every template of Pods."""
    found = [(one["metadata"]["name"], one["spec"]) for one in things if one["kind"] == "Pod"]
    found += [
        (one["metadata"]["name"], one["spec"]["template"]["spec"])
        for one in things
        if one["kind"] in ("Deployment", "StatefulSet", "Job")
    ]
    return found


def containers(spec: Thing) -> list[Thing]:
    return [*spec["containers"], *spec.get("initContainers", [])]


def of_ours(things: list[Thing]) -> list[tuple[str, Thing, Thing]]:
    """(name, Pod, container) of everything that runs the image of this project."""
    return [
        (name, spec, one)
        for name, spec in pods(things)
        for one in containers(spec)
        if one["image"].split(":")[0].split("@")[0].endswith("jetscan")
    ]
