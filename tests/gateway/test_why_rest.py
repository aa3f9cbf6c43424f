"""Why-not and metrics of a symbol over REST: asked of a running worker, and of what was recorded; outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from functions.market import missing
from runtime import why
from runtime.frames import Frame, encode
from runtime.gateway import why_not
from runtime.shapes import rfc3339
from runtime.subjects import partition_of
from tests.conftest import database_in
from tests.gateway.deployment import SECRET, Running, as_trader, hosted, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

T0 = 1_767_623_400_000_000_000  # 2026-01-05T14:30:00Z
SECOND_NS = 10**9
OVER = {"id": "over", "name": "Over ten", "when": "price > 10 volume >= 0 cooldown 0s"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, template: str
) -> AsyncIterator[Running]:
    """A gateway and a worker; AAPL printed 1 to 20 dollars, one a second."""
    url = await database_in(postgres, template)
    async with running(tmp_path_factory.mktemp("why"), url, jwt_secret=SECRET) as made:
        assert (await made.http.post("/api/v1/rules", json=OVER)).status_code == 201
        for number in range(20):
            await second(made, number, number + 1.0)
        async with hosted(made):
            async with asyncio.timeout(30):
                while (
                    await made.http.get("/api/v1/rules/over/why?symbol=AAPL")
                ).status_code != 200:
                    pass  # it waits for an answer
            yield made


async def second(made: Running, number: int, price: float) -> None:
    """A print, and the clock event after it."""
    columns = {"ts_ns": [T0 + number * SECOND_NS], "price": [price], "size": [100.0]}
    arrays = {name: np.array(values) for name, values in columns.items()}
    clock = Frame({"ts_ns": np.array([T0 + number * SECOND_NS + 1])}, source="test")
    for base, frame in (
        ("ticks.trades", Frame(arrays, ["AAPL"], np.zeros(1, int), "test")),
        ("ticks.clock", clock),
    ):
        wire = made.subjects.wire(base, partition_of("AAPL", made.subjects.partitions))
        await made.bus.put(wire, encode(frame, made.subjects.record_of(base)))


async def test_a_running_worker_tells_every_condition(made: Running) -> None:
    told = await made.get("rules/over/why", symbol="AAPL")
    assert (told["rule"], told["symbol"], told["verdict"]) == ("over", "AAPL", "true")
    assert told["leaves"][0]["value"] == 20.0
    assert told["leaves"][0]["margin"] == 1.0


async def test_what_was_recorded_is_replayed_up_to_a_time(made: Running) -> None:
    told = await made.get("rules/over/why", symbol="AAPL", time=rfc3339(T0 + 4 * SECOND_NS))
    assert (told["verdict"], told["leaves"][0]["value"]) == ("false", 5.0)


async def test_a_time_that_is_not_recorded_and_one_before_all_are_404(made: Running) -> None:
    early = await made.refused("GET", "rules/over/why?symbol=AAPL&time=2026-01-05T14:00:00Z", 404)
    assert "MARKET no longer reaches back" in early
    assert "nothing was recorded" in await made.refused(
        "GET", "rules/over/why?symbol=AAPL&time=1970-01-01T00:00:00Z", 404
    )


async def test_a_symbol_nobody_heard_of_is_told_as_a_fault(made: Running) -> None:
    told = await made.get("rules/over/why", symbol="AAPPL")
    assert "nothing has been heard of" in told["fault"]


async def test_a_rule_that_is_not_there_or_anothers_is_a_404(made: Running) -> None:
    for path in ("rules/none/why?symbol=A", "rules/none/outcomes"):
        assert await made.refused("GET", path, 404) == "Rule not found"
    rule = made.gateway.rules.things["over"]
    made.gateway.rules.things["over"] = {**rule, "user_id": "u2"}
    try:
        for path in ("rules/over/why?symbol=AAPL", "rules/over/outcomes"):
            assert await made.refused("GET", path, 404) == "Rule not found"
    finally:
        made.gateway.rules.things["over"] = rule


async def test_a_replay_that_takes_too_long_is_ended(made: Running, monkeypatch: Any) -> None:
    monkeypatch.setattr(why_not, "RECORDED_S", 0.01)
    path = f"rules/over/why?symbol=AAPL&time={rfc3339(T0 + SECOND_NS)}"
    assert "took longer than 0.01 s" in await made.refused("GET", path, 504)


@pytest.mark.parametrize("query", ["", "symbol=", "symbol=A&time=now", "symbol=A%00"])
async def test_a_question_out_of_bounds_is_a_400(made: Running, query: str) -> None:
    await made.refused("GET", f"rules/over/why?{query}", 400)


async def test_metrics_of_a_symbol_come_with_a_reason_for_each_that_is_missing(
    made: Running,
) -> None:
    told = await made.get("symbols/AAPL/metrics", names="price,volume_daily,rsi_14,float,vwap_live")
    assert told["timestamp"] == rfc3339(T0 + 19 * SECOND_NS + 1)
    assert told["metrics"]["price"] == 20.0
    assert told["metrics"]["volume_daily"] == 2000.0
    assert told["metrics"]["rsi_14"] is None
    assert told["missing"]["rsi_14"] == "not known yet: it needs 15 bars"
    assert told["missing"]["float"] == "not told: no reference data has it"
    assert set(told["missing"]) == {
        name for name, value in told["metrics"].items() if value is None
    }


async def test_what_no_rule_keeps_says_so(made: Running) -> None:
    told = await made.get("symbols/AAPL/metrics", names="crossed_above_vwap")
    assert told["missing"] == {
        "crossed_above_vwap": "not kept: no rule names it, nor does the scanner's setting watch"
    }


async def test_metrics_that_are_none_and_symbols_nobody_heard_of_are_refused(made: Running) -> None:
    assert "did you mean price" in await made.refused(
        "GET", "symbols/AAPL/metrics?names=prise", 400
    )
    many = ",".join(f"x{k}" for k in range(65))
    assert "expected 1 to 64" in await made.refused(
        "GET", f"symbols/AAPL/metrics?names={many}", 400
    )
    assert "nothing has been heard" in await made.refused(
        "GET", "symbols/ZZZ/metrics?names=price", 404
    )
    assert missing.NAMES_MAX == 64


async def test_without_a_worker_both_end_in_time(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(why, "ANSWER_S", 0.05)
    async with running(tmp_path) as alone:
        assert (await alone.http.post("/api/v1/rules", json=OVER)).status_code == 201
        for path in ("rules/over/why?symbol=AAPL", "symbols/AAPL/metrics?names=price"):
            assert "no worker answered" in await alone.refused("GET", path, 504)
        assert "database" in await alone.refused("GET", "outcomes", 503)


async def outcome(made: Running, number: int, **more: Any) -> None:
    when = datetime(2026, 1, 5, 15, tzinfo=UTC) + timedelta(minutes=number)
    row: dict[str, Any] = {"alert_id": f"a{number}", "rule_id": "over", "rule_name": "Over ten"}
    row |= {
        "symbol": "AB"[number % 2],
        "timestamp": when,
        "ts_ns": int(when.timestamp()) * 10**9,
        "price": 10.0,
    }
    row |= dict.fromkeys(
        ("minute_1m", "minute_5m", "minute_15m", "minute_60m", "begins", "ends"), when
    )
    row |= more
    await made.store.upsert(
        "outcomes", {name: [value] for name, value in row.items()}, ("alert_id",)
    )


async def test_outcomes_and_their_statistics_leave_withdrawn_alerts_out(made: Running) -> None:
    for number, change in enumerate((1.0, -2.0, 4.0, None, 9.0)):
        await outcome(made, number, return_5m_pct=change, stage=number % 3)
    await made.store.fetch("SELECT withdraw_outcomes(ARRAY['a4'])")
    told = await made.get("rules/over/outcomes", limit=2)
    assert told["statistics"]["alerts"] == 4
    assert told["statistics"]["known_5m"] == 3
    assert told["statistics"]["mean_5m_pct"] == pytest.approx(1.0)
    assert [one["alert_id"] for one in told["outcomes"]] == ["a3", "a2"]
    found = await made.get("outcomes", symbol="A", **{"from": "2026-01-05T15:01:00Z"})
    assert [(one["alert_id"], one["return_5m_pct"], one["state"]) for one in found["outcomes"]] == [
        ("a2", 4.0, "settled")
    ]
    assert (await made.get("outcomes", rule_id="other"))["count"] == 0
    assert [
        one["alert_id"] for one in (await made.get("outcomes", limit=1, offset=3))["outcomes"]
    ] == ["a0"]
    rule = made.gateway.rules.things["over"]
    made.gateway.rules.things["over"] = {**rule, "user_id": "u2"}
    try:
        with as_trader(made):
            assert (await made.get("outcomes"))["count"] == 0
    finally:
        made.gateway.rules.things["over"] = rule
