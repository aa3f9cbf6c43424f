"""`jetscan rules`: what is typed, piped or in a file is checked, read back and turned over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runtime import rule_answers
from runtime.cli import main
from runtime.loader import Plan
from tests.conftest import ROOT

EXAMPLES = str(ROOT / "functions" / "rules" / "examples.json")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def rules(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["rules", *words], input=typed)


def test_a_text_is_checked_and_shown_as_it_is_understood() -> None:
    result = rules("check", "price>5 AND rsi_14_1m<30 cooldown 300s")
    assert (result.exit_code, result.stdout) == (0, "price > 5 and rsi_14 < 30 cooldown 5m\n")


def test_a_wrong_text_ends_with_1_and_the_place() -> None:
    result = rules("check", "price > 5 and prise < 3")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "line 1, column 15" in result.stderr
    assert "did you mean price?" in result.stderr


def test_programs_get_json_with_rules_and_faults(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    good = {"id": "good", "name": "Good", "when": "price > 5"}
    file.write_text(json.dumps([good, {"id": "bad", "name": "Bad", "when": "price >"}]))
    result = rules("check", str(file), "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [rule["id"] for rule in told["rules"]] == ["good"]
    assert (told["faults"][0]["column"], told["faults"][0]["path"]) == (8, "rule bad: when")


def test_the_starter_rules_read_in_english_each_behind_its_id() -> None:
    result = rules("read", EXAMPLES)
    assert result.exit_code == 0, result.stderr
    ids = sorted(rule["id"] for rule in json.loads(Path(EXAMPLES).read_text()))
    assert [line.partition(": ")[0] for line in result.stdout.splitlines()] == ids


def test_standard_input_is_read_as_a_text_or_as_json() -> None:
    assert rules("read", "-", typed="price > 5\n").stdout.startswith("Fires as soon as the price")
    one = '{"metric": "price", "operator": ">", "value": 5}'
    assert rules("check", "-", typed=one).stdout == "price > 5\n"


def test_rules_are_turned_over_and_those_without_a_mirror_say_why() -> None:
    assert rules("flip", "price > 5 on AAPL").stdout == "price < 5 on AAPL\n"
    result = rules("flip", "volume_1m > 5")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "volume_1m > 5: no mirror image: nothing in the rule has an up" in result.stderr


def test_a_file_that_is_not_there_and_one_that_is_no_text_are_said(tmp_path: Path) -> None:
    assert "no file nowhere.json" in rules("check", "nowhere.json").stderr
    (tmp_path / "noise.txt").write_bytes(b"\xff\xfe")
    assert "expected UTF-8 text" in rules("check", str(tmp_path / "noise.txt")).stderr
    assert rules("check", "price > 5 or " * 30 + "price > 6").exit_code == 0


def test_without_a_function_that_answers_it_is_said() -> None:
    with pytest.raises(rule_answers.RulesError, match=r"no function answers ask\.rules"):
        rule_answers.answers(Plan((), (), ()), "price > 5")
