"""Parts of a deployment: a chain each, a file of sinks each, and no two of one name."""

from __future__ import annotations

from pathlib import Path

from runtime.exports.nats_permissions import users_of
from runtime.exports.parts import parts_of
from runtime.loader import load_plan
from runtime.subjects import Subjects

SINK = """from runtime import function


@function(reads="alerts.filtered")
async def {name}(filtered, http):
    await http.get("https://example.com")
"""
CHAIN = """from runtime import function


@function(reads="bars.final", writes="toplists.partial")
def gateway(bars):
    return None
"""


def test_a_name_that_another_part_has_is_not_taken(tmp_path: Path, subjects: Subjects) -> None:
    (tmp_path / "gateway.py").write_text(CHAIN)
    (tmp_path / "ingest.py").write_text(SINK.format(name="tell") + SINK.format(name="shout"))
    plan = load_plan(tmp_path, subjects)
    assert plan.faults == ()
    parts = {part.name: part for part in parts_of(plan)}
    assert set(parts) == {"gateway_chain", "ingest_sinks"}
    assert parts["gateway_chain"].hosts == ["gateway"]
    assert sorted(parts["ingest_sinks"].hosts) == ["shout", "tell"]
    users = users_of(plan, subjects)
    assert "$KV.rules.>" in users["gateway"].publish
    assert "$KV.rules.>" not in users["gateway_chain"].publish
    assert "$JS.ACK.ALERTS.sink-tell.>" in users["ingest_sinks"].publish
