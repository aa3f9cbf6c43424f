"""Every query of every dashboard reads, and speaks of what is exported or recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.monitoring.promql import faults
from tests.monitoring.test_rules import RECORDED

GRAFANA = ROOT / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES}
SOURCES = yaml.safe_load(
    (GRAFANA / "provisioning" / "datasources" / "jetscan.yml").read_text(encoding="utf-8")
)["datasources"]
PANELS = [(name, panel) for name, one in DASHBOARDS.items() for panel in one["panels"]]


def named(value: Any) -> str:
    return value if isinstance(value, str) else str(value["title"])


def test_there_is_a_dashboard_for_each_part() -> None:
    wanted = {"alerts", "functions", "gateway", "overview", "pipeline", "scanner"}
    assert DASHBOARDS.keys() == wanted
    assert {one["uid"] for one in DASHBOARDS.values()} == {f"jetscan-{name}" for name in wanted}


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=named)
def test_a_panel_asks_for_what_there_is(name: str, panel: dict[str, Any]) -> None:
    assert panel["datasource"]["uid"] in {one["uid"] for one in SOURCES}
    assert panel["targets"]
    if panel["datasource"]["type"] == "prometheus":
        assert [faults(one["expr"], RECORDED) for one in panel["targets"]] == [[]] * len(
            panel["targets"]
        )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_side_by_side(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {
            (at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_a_line_of_the_log_leads_to_its_trace_and_a_trace_to_its_lines() -> None:
    sources = {one["uid"]: one for one in SOURCES}
    assert sources.keys() == {"prometheus", "loki", "jaeger"}
    assert sources["loki"]["jsonData"]["derivedFields"][0]["datasourceUid"] == "jaeger"
    assert sources["jaeger"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == "loki"
