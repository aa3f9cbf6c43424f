"""Rules speak of what is exported, every alarm is tried both ways by promtool and has a runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.monitoring.promql import faults

FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
FILES = ("rules.yml", "probe.yml")
GROUPS = {
    name: yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))["groups"] for name in FILES
}
RULES: list[dict[str, Any]] = [
    rule for groups in GROUPS.values() for group in groups for rule in group["rules"]
]
ALARMS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def named(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_rule_speaks_of_what_is_exported(rule: dict[str, Any]) -> None:
    assert faults(rule["expr"], RECORDED) == []


def test_only_who_has_a_probe_is_told_that_none_was_answered() -> None:
    told = {name: str(groups) for name, groups in GROUPS.items()}
    assert "probe" not in told["rules.yml"]
    assert "ProbeAbsent" in told["probe.yml"]
    for file in ("rules_test.yml", "prometheus.yml"):
        assert yaml.safe_load((FOLDER / file).read_text())["rule_files"] == [*FILES]


def test_a_query_of_what_nobody_exports_is_found() -> None:
    assert faults("rate(jetscan_imagined_total[1m])", set()) == [
        "jetscan_imagined_total is not exported"
    ]
    no_colour = ["consumer_lag has no label colour"]
    assert faults('consumer_lag{colour="red"}', set()) == no_colour
    assert faults("sum by (colour) (consumer_lag)", set()) == no_colour
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        faults("sum(rate(", set())


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_says_how_bad_it_is_and_names_its_runbook(alarm: str) -> None:
    rule = ALARMS[alarm]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{alarm.lower()}"


def test_every_alarm_has_a_runbook_and_every_runbook_an_alarm() -> None:
    headings = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(ALARMS)


def test_every_alarm_is_made_to_fire_and_not_to_fire() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
    wanted = {f"{alarm} {what}" for alarm in ALARMS for what in ("fires", "is silent")}
    assert {one["name"] for one in tests} == wanted


def test_promtool_takes_the_configuration_and_the_rules_do_what_their_tests_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here (Debian: apt-get install prometheus): rules are not run")
    for words in (["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run(
            [promtool, *words], cwd=FOLDER, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
