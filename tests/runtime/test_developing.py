"""Beginning a function and trying it on files: `jetscan new`, `jetscan test`."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from runtime.cli import main
from runtime.subjects import Subjects
from runtime.tables import write_parquet
from tests.conftest import ROOT

T0 = 1_767_623_400_000_000_000  # 2026-01-05T14:30:00Z
CUT = '''
"""Highest: a print above what the frame before had."""
import numpy as np
from runtime import function

@function(reads="ticks.trades", writes="alerts", state={"high": "f8"})
def highest(trades, state):
    met = state["high"][trades["row"]]
    np.maximum.at(state["high"], trades["row"], trades["price"])
    return trades[(met > 0) & (trades["price"] > met)]
'''
MEMORY = '''
"""Highest: remembers in a list."""
from runtime import function

SEEN = []

@function(reads="ticks.trades", writes="alerts")
def highest(trades):
    SEEN.append(len(trades))
    return trades if len(SEEN) < 3 else None
'''
RAISING = CUT.replace("met = state", "1 / int(trades['price'][0] < 15)\n    met = state")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a project with the functions of this one."""
    shutil.copytree(ROOT / "functions", tmp_path / "functions")
    monkeypatch.setenv("JETSCAN_FUNCTIONS_DIR", str(tmp_path / "functions"))
    monkeypatch.setenv("JETSCAN_SUBJECTS_FILE", str(ROOT / "subjects.yaml"))
    return tmp_path


def jetscan(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def pytest_in(folder: Path) -> subprocess.CompletedProcess[str]:
    """The tests of a project, in a process of its own: its `functions` are not ours."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    command += ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def trades(folder: Path, prices: Any) -> str:
    """A file of one print a second, with ids, as vendors give them."""
    count = len(prices)
    columns: dict[str, Any] = {"symbol": ["A", "B"] * (count // 2), "price": np.asarray(prices)}
    columns |= {"ts_ns": T0 + np.arange(count) * 400_000_000, "size": np.full(count, 100.0)}
    columns["id"] = np.arange(count) + 1
    write_parquet(folder / "trades.parquet", columns)
    return str(folder / "trades.parquet")


# -- jetscan new


def test_what_is_begun_is_hosted_and_its_tests_pass(folder: Path) -> None:
    begun = {
        "prints": ["--reads", "ticks.trades", "--writes", "alerts"],
        "closes": ["--reads", "bars.final", "--writes", "alerts"],
        "seconds": ["--reads", "ticks.clock", "--writes", "alerts"],
        "several": ["--reads", "bars.final", "--reads", "ticks.trades", "--reads", "ticks.clock"],
        "tells": ["--reads", "alerts.filtered"],
    }
    begun["several"] += ["--writes", "alerts", "--writes", "metrics.values"]
    for name, words in begun.items():
        told = jetscan("new", name, *words)
        assert told.exit_code == 0, told.output
        assert told.stdout.splitlines() == [
            str(folder / "functions" / f"{name}.py"),
            str(folder / "tests" / "functions" / f"test_{name}.py"),
            str(folder / "docs" / "functions" / f"{name}.md"),
        ]
    checked = json.loads(jetscan("check", "--json").stdout)
    assert checked["faults"] == []
    hosted = {one["function"]: one for one in json.loads(jetscan("functions", "--json").stdout)}
    assert hosted["several"]["chain"] == "market"
    assert hosted["tells"]["chain"] == "(sink)"
    tested = pytest_in(folder)
    assert tested.returncode == 0, tested.stdout
    assert "10 passed" in tested.stdout


@pytest.mark.parametrize("base", ["ticks.quotes", "indicators"])
def test_any_subject_can_be_read(folder: Path, subjects: Subjects, base: str) -> None:
    told = jetscan("new", "looks", "--reads", base, "--writes", "bars.live", "--json")
    assert told.exit_code == 0, told.output
    text = (folder / "functions" / "looks.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) == "Looks: say in a line what it finds."
    for column, one in subjects.record_of("bars.live").columns.items():
        assert (f'"{column}":' in text) == one.required


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["Surge", "--reads", "ticks.trades"], "expected a name of small letters"),
        (["bars", "--reads", "ticks.trades"], "bars: there is one in"),
        (["surge", "--reads", "ticks.trade"], "ticks.trade: no such subject"),
        (["surge", "--reads", "control"], "its events have no symbol"),
        (["surge", "--reads", "ticks.trades", "--writes", "ticks.quotes"], "ingest writes it"),
        (["surge", "--reads", "alerts", "--reads", "bars.final"], "that reads one subject"),
        (
            ["surge", "--reads", "ticks.corrections", "--writes", "alerts.user"],
            "its chain would read",
        ),
    ],
)
def test_what_could_not_be_hosted_is_refused_and_leaves_nothing(
    folder: Path, words: list[str], says: str
) -> None:
    told = jetscan("new", *words)
    assert told.exit_code == 2
    assert says in told.stderr
    assert not (folder / "tests").exists() or not list((folder / "tests").glob("**/*.py"))
    assert not (folder / "functions" / "surge.py").exists()


def test_a_file_that_is_there_is_left_as_it_is(folder: Path) -> None:
    page = folder / "docs" / "functions" / "surge.md"
    page.parent.mkdir(parents=True)
    page.write_text("mine", encoding="utf-8")
    told = jetscan("new", "surge", "--reads", "ticks.trades", "--writes", "alerts")
    assert told.exit_code == 2
    assert "surge.md: is there already" in told.stderr
    assert page.read_text(encoding="utf-8") == "mine"
    assert not (folder / "functions" / "surge.py").exists()


# -- jetscan test


def test_a_function_is_run_over_a_file_and_keeps_its_promises(folder: Path) -> None:
    jetscan("new", "surge", "--reads", "ticks.trades", "--writes", "alerts")
    file = trades(folder, np.linspace(10, 20, 400))
    told = jetscan("test", "surge", "--trades", file, "--show", "1")
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert lines[0] == (
        "surge over 400 trades of 2 symbols, 2026-01-05T14:30:00Z to 2026-01-05T14:32:39Z"
    )
    assert lines[1].startswith("said 4 on alerts in ")
    assert lines[2].startswith("  2026-01-05 14:31:19.200  A         subject=alerts price=14.9")
    assert lines[3:] == [
        "  ... 3 more",
        "kept: any cut into frames says the same",
        "kept: a crash after any frame says the same",
        "kept: a second run says the same",
        "checked on the first 400 trades",
    ]
    told = jetscan("test", "surge", "--trades", file, "--check", "0", "--json")
    found = json.loads(told.stdout)
    assert (found["said"], found["checks"], found["dead"]) == ({"alerts": 4}, {}, 0)
    assert [one["symbol"] for one in found["events"]] == ["A", "B", "A", "B"]


def test_a_function_runs_with_those_that_write_what_it_reads(folder: Path) -> None:
    jetscan("new", "surge", "--reads", "indicators", "--writes", "alerts")
    file = trades(folder, np.linspace(10, 20, 300))
    found = json.loads(jetscan("test", "surge", "--trades", file, "--json").stdout)
    assert found["beside"] == ["bars", "indicators"]
    assert list(found["checks"].values()) == ["", "", ""]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CUT, "BROKEN: any cut into frames says the same: whole frames and frames of"),
        (MEMORY, "BROKEN: a second run says the same: one run and the next differ on alerts"),
        (RAISING, "by highest: ZeroDivisionError: division by zero"),
    ],
)
def test_a_promise_that_is_broken_and_a_frame_set_aside_end_with_1(
    folder: Path, text: str, says: str
) -> None:
    (folder / "functions" / "highest.py").write_text(text, encoding="utf-8")
    told = jetscan("test", "highest", "--trades", trades(folder, np.linspace(10, 20, 400)))
    assert told.exit_code == 1, told.output
    assert says in told.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody", "no function nobody; there are alerts, bars"),
        ("notify", "notify is a sink: it acts"),
        ("deliveries", "of the stream ALERTS: trades alone do not feed it"),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_line(folder: Path, name: str, says: str) -> None:
    told = jetscan("test", name, "--trades", trades(folder, [10.0, 11.0]))
    assert told.exit_code == 1
    assert says in told.stderr


@pytest.mark.parametrize("name", ["market", "users", "toplists"])
def test_a_function_is_not_called_like_a_folder_or_a_chain(folder: Path, name: str) -> None:
    found = jetscan("new", name, "--reads", "ticks.trades", "--writes", "alerts")
    assert found.exit_code != 0
    assert name in found.output
    assert not (folder / "tests").exists()
