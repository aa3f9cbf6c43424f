"""Metrics are told, counted and served without a gateway; alerts say what they are and how late."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from runtime import telemetry
from runtime.shapes import alert_shapes, latency_ms
from runtime.testing import Harness
from tests.conftest import ROOT

SAID = {"log.error", "log.exception", "log.critical"}


def test_an_alert_names_the_trace_of_its_cause() -> None:
    from functions.alerts import alerts

    out = Harness(alerts).send("alerts", symbol=["A"], ts_ns=[1], price=[2.0])
    (alert,) = alert_shapes(out["alerts.filtered"], "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01")
    assert alert["trace_id"] == "ab" * 16
    assert (alert["seq"], alert["rule_id"], alert["symbol"]) == (1, "test", "A")


def counts(**told: Any) -> telemetry.UnitCounts:
    whole = dict.fromkeys([one.name for one in dataclasses.fields(telemetry.UnitCounts)], 0)
    return telemetry.UnitCounts(**{**whole, "events": {}, **told})  # type: ignore[arg-type]


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_counters_of_a_unit_go_on_where_another_worker_s_ended_and_its_gauges_go() -> None:
    before = value("ticks_processed_total", partition="77") or 0
    first = telemetry.UnitMeter("market", "77")
    first.tell(counts(events={"ticks.trades": 5}, pending=3, clock_ns=2 * 10**9))
    first.tell(counts(events={"ticks.trades": 9}, pending=2, clock_ns=3 * 10**9))
    assert value("ticks_processed_total", partition="77") == before + 9
    assert value("consumer_lag", chain="market", partition="77") == 2
    assert value("last_tick_timestamp", chain="market", partition="77") == 3
    first.forget()
    assert value("consumer_lag", chain="market", partition="77") is None
    telemetry.UnitMeter("market", "77").tell(counts(events={"ticks.trades": 4}))
    assert value("ticks_processed_total", partition="77") == before + 13


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_stack_in_the_log_has_no_values_of_variables(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def sign_in(password: str) -> None:
        del password
        token = "tok-" + "secret"
        raise RuntimeError(f"refused after {len(token)} letters")

    telemetry.configure("info", style)
    try:
        sign_in("hunter2-" + "secret")
    except RuntimeError:
        telemetry.get_logger("test").exception("sign-in failed")
    said = capsys.readouterr().err
    assert "refused after 10 letters" in said
    assert "sign_in" in said
    assert "hunter2-secret" not in said
    assert "tok-secret" not in said


def test_alerts_are_counted_by_rule_and_those_of_too_many_rules_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry, "RULES_NAMED_MAX", len(telemetry._rules_named) + 1)
    telemetry.note_alerts(["named", "named", "beyond", "further"])
    assert value("alerts_emitted_total", rule_id="named") == 2
    assert value("alerts_emitted_total", rule_id="beyond") is None
    assert value("alerts_emitted_total", rule_id=telemetry.OTHERS) == 2


def test_what_errors_say_is_a_text_of_the_code_so_that_there_are_few_series() -> None:
    texts = 0
    for file in sorted((ROOT / "runtime").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in SAID:
                assert isinstance(node.args[0], ast.Constant | ast.Name), f"{file}:{node.lineno}"
                texts += isinstance(node.args[0], ast.Constant)
    assert texts > 20


async def test_a_worker_serves_its_metrics_and_probes() -> None:
    telemetry.UnitMeter("market", "3").tell(counts(pending=7))
    is_ready = [False]
    server = await telemetry.serve_metrics("127.0.0.1", 0, lambda: is_ready[0])
    address = "http://127.0.0.1:" + str(server.sockets[0].getsockname()[1])
    async with httpx.AsyncClient(base_url=address) as client:
        text = (await client.get("/metrics")).text
        assert 'consumer_lag{chain="market",partition="3"} 7.0' in text
        assert (await client.get("/ready")).status_code == 503
        is_ready[0] = True
        assert [(await client.get(path)).status_code for path in ("/ready", "/live", "/health", "/x")] == [200, 200, 200, 404]  # fmt: skip
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5)


def test_an_alert_that_is_withdrawn_says_so_and_why() -> None:
    from functions.alerts import alerts

    columns = {"symbol": ["A", "A"], "ts_ns": [1, 2], "price": [2.0, 2.0], "rule_name": ["R", "R"]}
    out = Harness(alerts).send(
        "alerts", **columns, kind=["fired", "withdrawn"], reason=["", "trade cancelled"]
    )
    fired, withdrawn = alert_shapes(out["alerts.filtered"])
    assert (fired["kind"], fired["message"]) == ("fired", "Rule 'R' matched for A")
    assert "reason" not in fired
    assert withdrawn["message"] == "Withdrawn: Rule 'R' matched for A (trade cancelled)"
    assert (withdrawn["kind"], withdrawn["reason"]) == ("withdrawn", "trade cancelled")


def test_latency_is_told_by_the_stages_that_are_known() -> None:
    second_ns = 10**9
    told = latency_ms(
        second_ns, 2 * second_ns, 2 * second_ns + 1_500_000, 2 * second_ns + 1_750_000
    )
    assert told == {"feed": 1000.0, "stream": 1.5, "gateway": 0.25}
    assert latency_ms(second_ns, 0, 3 * second_ns) == {}
    assert latency_ms(second_ns, 2 * second_ns, 3 * second_ns) == {"feed": 1000.0, "stream": 1000.0}


def test_a_replayed_event_and_a_clock_that_is_ahead_have_no_latency_of_the_feed() -> None:
    day_ns, second_ns = 86_400 * 10**9, 10**9
    stored_ns = 2 * day_ns
    said_ns = stored_ns + second_ns
    told = {
        ts_ns: "feed" in latency_ms(ts_ns, stored_ns, said_ns)
        for ts_ns in (
            stored_ns - day_ns,
            stored_ns - 60 * second_ns - 1,
            stored_ns - 60 * second_ns,
            stored_ns,
            stored_ns + 1,
        )
    }
    assert list(told.values()) == [False, False, True, True, False]
    assert latency_ms(day_ns, stored_ns, said_ns) == {"stream": 1000.0}
