"""`jetscan export`: each prints what its library makes; with a broken function none of them does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runtime.cli import main
from runtime.exports.helm_values import helm_values
from runtime.exports.json_schema import json_schema
from runtime.exports.nats_permissions import permissions_of
from runtime.loader import load_plan
from runtime.subjects import Subjects
from tests.conftest import ROOT


def export(*words: str) -> Result:
    return CliRunner().invoke(main, ["export", *words])


def test_each_export_prints_what_its_library_makes(
    monkeypatch: pytest.MonkeyPatch, subjects: Subjects
) -> None:
    monkeypatch.chdir(ROOT)
    plan = load_plan(ROOT / "functions", subjects)
    assert json.loads(export("helm-values").stdout) == helm_values(plan, subjects)
    told = export("nats-permissions", "--json").stdout
    assert json.loads(told) == permissions_of(plan, subjects)
    assert json.loads(export("jsonschema").stdout) == json_schema(subjects)
    assert json.loads(export("asyncapi").stdout)["asyncapi"] == "3.0.0"
    assert "password: $NATS_PASSWORD_MARKET" in export("nats-permissions").stdout


def test_a_broken_function_ends_an_export_with_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "broken.py").write_text("def (", encoding="utf-8")
    monkeypatch.setenv("JETSCAN_FUNCTIONS_DIR", str(tmp_path))
    found = export("nats-permissions")
    assert found.exit_code == 1
    assert "broken.py:1: not Python" in found.stderr
    assert found.stdout == ""
