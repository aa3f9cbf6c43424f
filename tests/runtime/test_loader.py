"""Loading and checking functions: what is wrong is said with file and line, the rest is hosted."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.loader import Plan, load_plan
from runtime.subjects import Subjects
from tests.conftest import ROOT

GOOD = '''"""Good."""
from runtime import function


@function(reads="ticks.trades", writes="alerts", state={"n": "f8"}, settings={"least": 1.0})
def good(trades, state, settings):
    return trades
'''


def planned(tmp_path: Path, subjects: Subjects, **files: str) -> Plan:
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    return load_plan(tmp_path, subjects)


def handler(
    body: str = "return None",
    reads: str = "ticks.trades",
    arguments: str = "trades",
    extra: str = "",
) -> str:
    return (
        f'"""Odd."""\nfrom runtime import function\n{extra}\n\n'
        f'@function(reads="{reads}", writes="alerts")\ndef odd({arguments}):\n    {body}\n'
    )


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("def broken(:\n", 1, "not Python"),
        ("x = 1\n", 1, "declares no function"),
        ("raise ValueError('at import')\n", 1, "ValueError: at import"),
        (handler(extra="import time"), 3, "imports time; a function owns no clock"),
        (handler(extra="import runtime.bus"), 3, "only the public names of `runtime`"),
        (handler(extra="from functions.bars import bars"), 3, "a function never imports another"),
        (handler(extra="from . import x"), 3, "relative import"),
        (handler("open('x')"), 7, "calls open()"),
        (handler("return datetime.now()", extra="from datetime import datetime"), 7, "calls .now(); time is data"),
        (handler("global x"), 7, "`global`"),
        (handler(reads="ticks.nothing"), 5, "reads ticks.nothing, which subjects.yaml does not name"),
        (handler(reads="bars.live", arguments="live"), 5, "reads bars.live, which no stream keeps"),
        (handler(arguments="trades, network"), 5, "asks for 'network'; it may ask for its frames (trades)"),
        (handler().replace('writes="alerts"', 'writes="ticks.trades"'), 5, "which ingest writes"),
        (handler().replace('writes="alerts"', 'writes="mine"'), 5, "writes mine, which subjects.yaml does not name"),
        (handler().replace('writes="alerts"', 'writes="alerts", state={"n": "f9"}'), 5, "state n: expected one of"),
    ],
)  # fmt: skip
def test_a_fault_names_file_and_line_and_the_others_load(
    tmp_path: Path, subjects: Subjects, source: str, line: int, says: str
) -> None:
    plan = planned(tmp_path, subjects, good=GOOD, odd=source)
    assert [one.name for one in plan.functions] == ["good"]
    (fault,) = plan.faults
    assert fault.file.endswith("odd.py")
    assert fault.line == line
    assert says in fault.message


def test_two_functions_of_one_name_are_refused(tmp_path: Path, subjects: Subjects) -> None:
    plan = planned(tmp_path, subjects, one=GOOD, two=GOOD)
    assert len(plan.functions) == 1
    assert "stands in" in plan.faults[0].message


def test_a_function_that_reads_two_streams_is_told_why_not(
    tmp_path: Path, subjects: Subjects
) -> None:
    source = handler(reads="ticks.trades").replace(
        '@function(reads="ticks.trades", writes="alerts")', '@function(reads=["ticks.trades", "bars.final"])'
    )  # fmt: skip
    plan = planned(
        tmp_path, subjects, odd=source.replace("def odd(trades)", "def odd(trades, bars)")
    )
    assert "reads one stream" in plan.faults[0].message
    assert not plan.functions


def test_a_function_that_writes_what_a_chain_writes_joins_it(
    subjects: Subjects, tmp_path: Path
) -> None:
    for file in (ROOT / "functions").glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    plan = planned(tmp_path, subjects, good=GOOD)
    market = plan.chain("market")
    assert market is not None
    assert [one.name for one in market.functions] == ["bars", "indicators", "scanner", "good"]


def test_settings_are_overridden_and_part_of_the_version(
    tmp_path: Path, subjects: Subjects
) -> None:
    before = planned(tmp_path, subjects, good=GOOD).functions[0]
    after = load_plan(tmp_path, subjects, {"good": {"least": 5}}).functions[0]
    assert (before.settings["least"], after.settings["least"]) == (1.0, 5)
    assert before.version != after.version
    wrong = load_plan(tmp_path, subjects, {"good": {"most": 5}})
    assert "no setting 'most'" in wrong.faults[0].message
    wrong = load_plan(tmp_path, subjects, {"good": {"least": "x"}})
    assert "expected float, found 'x'" in wrong.faults[0].message


def test_the_version_changes_with_the_source(tmp_path: Path, subjects: Subjects) -> None:
    before = planned(tmp_path, subjects, good=GOOD).functions[0].version
    assert planned(tmp_path, subjects, good=GOOD).functions[0].version == before
    assert planned(tmp_path, subjects, good=GOOD + "\n# more\n").functions[0].version != before


def test_the_projects_own_functions_have_no_fault(subjects: Subjects) -> None:
    plan = load_plan(ROOT / "functions", subjects)
    assert not plan.faults
    assert {one.name for one in plan.functions} >= {
        "bars",
        "indicators",
        "scanner",
        "toplists",
        "alerts",
    }


COURIER = """'''Courier.'''
from runtime import function


@function(reads="alerts.filtered", at_once=4)
async def courier(filtered, outbound, attempt):
    return None
"""


def test_the_way_out_is_for_couriers_and_couriers_are_sinks(
    tmp_path: Path, subjects: Subjects
) -> None:
    assert [one.name for one in planned(tmp_path, subjects, courier=COURIER).sinks] == ["courier"]
    plain = planned(tmp_path, subjects, courier=COURIER.replace(", at_once=4", ""))
    assert "asks for 'outbound'" in plain.faults[0].message
    pure = COURIER.replace("async def", "def").replace(", outbound, attempt", "")
    assert "at_once is for sinks" in planned(tmp_path, subjects, courier=pure).faults[0].message


SINK = '''"""Sink."""
from runtime import function


@function(reads={reads!r}, {more})
async def sink(**frames): ...
'''


@pytest.mark.parametrize(
    ("reads", "more", "says"),
    [
        (["bars.final", "alerts"], "", "sink sink reads the streams ALERTS, BARS; make it one"),
        (["alerts"], "batch=0", "batch: expected 1 to 256, found 0"),
        (["alerts"], "batch=300", "batch: expected 1 to 256, found 300"),
        (["bars.final"], "batch=2, writes='alerts'", "batch is for sinks that write no subject"),
    ],
)
def test_a_sink_reads_one_stream_and_joins_only_what_it_may(
    tmp_path: Path, subjects: Subjects, reads: list[str], more: str, says: str
) -> None:
    text = SINK.format(reads=reads, more=more).replace("**frames", "bars=None, alerts=None")
    plan = planned(tmp_path, subjects, sink=text)
    assert any(says in str(fault) for fault in plan.faults), plan.faults


def test_a_function_that_is_no_sink_cannot_join_frames(tmp_path: Path, subjects: Subjects) -> None:
    plan = planned(tmp_path, subjects, good=GOOD.replace("state=", "batch=2, state="))
    assert "batch is for sinks" in str(plan.faults[0])
