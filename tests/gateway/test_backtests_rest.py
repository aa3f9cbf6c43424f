"""Backtests and previews over REST: run in processes of their own, kept on disk, each user's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from runtime.config import Settings
from runtime.frames import Frame, encode
from runtime.gateway import backtest_jobs, children, preview, stored_range
from runtime.gateway.backtest_jobs import BacktestJobs
from runtime.gateway.gateway import Gateway
from runtime.gateway.job_folders import JobFolders
from tests.conftest import database_in
from tests.gateway.deployment import Running, running, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MINUTES = 40
RULE = "price crosses above 10 volume >= 0 cooldown 0s"
ASKED = {"rules": [RULE], "from": "2026-01-05", "to": "2026-01-06", "name": "Mine"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, template: str
) -> AsyncIterator[Running]:
    """Two days of two symbols are stored: UP crosses 10 once a day, SAW every other minute; it is the 7th."""
    url = await database_in(postgres, template)
    async with running(tmp_path_factory.mktemp("backtests"), url) as made:
        for day in range(2):
            await keep(made, day, "UP", [9.0 + k / 20 for k in range(MINUTES)])
            await keep(made, day, "SAW", [9.5 + k % 2 for k in range(MINUTES)])
        await keep(made, 2, "UP", [9.0 + k for k in range(MINUTES)])  # the day that is not over
        await it_is(made, datetime(2026, 1, 7, 15, tzinfo=UTC))
        yield made


async def keep(made: Running, day: int, symbol: str, closes: list[float]) -> None:
    size = len(closes)
    times = [OPEN + timedelta(days=day, minutes=k) for k in range(size)]
    await made.store.fetch("SELECT make_room('bars_1m', $1)", times[:1])
    columns: dict[str, list[Any]] = dict.fromkeys(("open", "high", "low", "close", "vwap"), closes)
    columns |= {"symbol": [symbol] * size, "timestamp": times, "volume": [500.0] * size}
    await made.store.upsert("bars_1m", columns, ("symbol", "timestamp"))


async def it_is(made: Running, when: datetime) -> None:
    """A running bar tells the time."""
    names = ("open", "high", "low", "close", "volume", "vwap")
    columns: dict[str, Any] = {name: np.ones(1) for name in names}
    columns |= {"ts_ns": np.array([int(when.timestamp()) * 10**9])}
    columns |= {"count": np.ones(1, "i8"), "revision": np.zeros(1, "i4")}
    record = made.subjects.record_of("bars.live")
    async with asyncio.timeout(5):
        while not made.gateway.hub.newest_ns:
            await made.bus.publish(
                "bars.live.0", encode(Frame(columns, ["UP"], np.zeros(1, int)), record)
            )
            await asyncio.sleep(0.01)


async def ended(made: Running, job_id: str) -> Any:
    """A backtest once it is over."""
    async with asyncio.timeout(60):
        while (job := await made.get(f"backtests/{job_id}"))["state"] in ("queued", "running"):
            assert 0 <= job["progress"] <= 1
            await asyncio.sleep(0.05)
    return job


async def added(made: Running, **more: Any) -> Any:
    answer = await made.http.post("/api/v1/backtests", json={**ASKED, **more})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/v1/backtests/{answer.json()['id']}"
    return answer.json()


async def test_a_backtest_runs_to_its_report_and_alerts(made: Running) -> None:
    job = await added(made)
    assert (job["state"], job["name"], job["waiting"]) == ("queued", "Mine", 1)
    assert (job["from"], job["to"]) == (
        "2026-01-05T05:00:00.000000000Z",
        "2026-01-07T05:00:00.000000000Z",
    )
    done = await ended(made, job["id"])
    assert (done["state"], done["progress"]) == ("done", 1.0), done
    said = await made.get(f"backtests/{job['id']}/alerts", limit=1000)
    assert {one["symbol"] for one in said["alerts"]} == {"UP", "SAW"}
    assert sum(one["symbol"] == "UP" for one in said["alerts"]) == 2
    page = await made.get(f"backtests/{job['id']}/alerts", limit=3, offset=2)
    assert page["alerts"] == said["alerts"][2:5]
    report = await made.http.get(f"/api/v1/backtests/{job['id']}/report")
    assert report.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in report.headers["content-security-policy"]
    assert "<html" in report.text
    assert job["id"] in [one["id"] for one in (await made.get("backtests"))["backtests"]]


async def test_stored_rules_are_run_by_their_ids(made: Running) -> None:
    rule = {"id": "stored", "name": "Stored", "when": RULE}
    assert (await made.http.post("/api/v1/rules", json=rule)).status_code == 201
    job = await added(made, rules=[], rule_ids=["stored"], symbols=["UP"])
    assert job["rules"] == [{"id": "stored", "name": "Stored"}]
    assert (await ended(made, job["id"]))["state"] == "done"
    said = await made.get(f"backtests/{job['id']}/alerts")
    assert [(one["symbol"], one["rule_id"]) for one in said["alerts"]] == [("UP", "stored")] * 2


async def test_a_run_that_fails_says_why(made: Running) -> None:
    job = await added(made, symbols=["NONE"])
    failed = await ended(made, job["id"])
    assert failed["state"] == "failed"
    assert "bars_1m: no bars" in failed["error"]
    assert "it has no result" in await made.refused("GET", f"backtests/{job['id']}/report", 409)


async def test_a_range_with_too_many_bars_is_not_run(made: Running, monkeypatch: Any) -> None:
    monkeypatch.setattr(stored_range, "BARS_MAX", 100)
    failed = await ended(made, (await added(made))["id"])
    assert (failed["state"], "bars; fewer days" in failed["error"]) == ("failed", True)


async def test_a_run_that_takes_too_long_or_too_much_memory_is_ended(
    made: Running, monkeypatch: Any
) -> None:
    monkeypatch.setattr(children, "MEMORY_BYTES_MAX", 64 << 20)
    failed = await ended(made, (await added(made))["id"])
    assert failed["state"] == "failed"
    monkeypatch.undo()
    monkeypatch.setattr(backtest_jobs, "RUN_S", 0.05)
    failed = await ended(made, (await added(made))["id"])
    assert (failed["state"], failed["error"]) == ("failed", "it took longer than 0.05 s")


async def test_one_runs_and_others_wait_and_each_can_be_cancelled(made: Running) -> None:
    first, second = await added(made), await added(made)
    async with asyncio.timeout(30):
        while (await made.get(f"backtests/{first['id']}"))["state"] != "running":
            await asyncio.sleep(0.01)
    assert (await made.get(f"backtests/{second['id']}"))["waiting"] == 1
    for job in (second, first):
        answer = await made.http.delete(f"/api/v1/backtests/{job['id']}")
        assert answer.json() == {"message": "Backtest cancelled"}
        assert (await made.get(f"backtests/{job['id']}"))["state"] == "cancelled"
    third = await added(made, symbols=["UP"])
    assert (await ended(made, third["id"]))["state"] == "done"  # the queue goes on
    assert (await made.get(f"backtests/{first['id']}"))["state"] == "cancelled"
    answer = await made.http.delete(f"/api/v1/backtests/{first['id']}")
    assert answer.json() == {"message": "Backtest deleted"}
    assert await made.refused("GET", f"backtests/{first['id']}", 404) == "Backtest not found"


async def test_a_user_may_have_only_so_many_waiting(made: Running, monkeypatch: Any) -> None:
    monkeypatch.setattr(backtest_jobs, "WAITING_OF_USER_MAX", 2)
    jobs = [await added(made), await added(made)]
    assert "at most 2 backtests" in await made.refused("POST", "backtests", 429, ASKED)
    for job in jobs:
        await made.http.delete(f"/api/v1/backtests/{job['id']}")


async def test_the_oldest_of_a_user_are_forgotten(made: Running, monkeypatch: Any) -> None:
    monkeypatch.setattr(backtest_jobs, "KEPT_OF_USER_MAX", 1)
    job = await added(made, symbols=["NONE"])
    await ended(made, job["id"])
    again = await added(made, symbols=["NONE"])
    listed = await made.get("backtests", limit=1)
    assert (listed["count"], listed["total"]) == (1, 2)
    assert {one["id"] for one in (await made.get("backtests"))["backtests"]} == {
        job["id"],
        again["id"],
    }
    await ended(made, again["id"])


async def test_jobs_outlive_the_gateway_and_what_it_left_says_so(
    made: Running, tmp_path: Path
) -> None:
    settings = made.settings.model_copy(update={"data_dir": str(tmp_path)})
    folders = JobFolders(tmp_path / "backtests")
    told = {"name": "", "from_ns": 0, "to_ns": 10**18, "symbols": [], "rules": []}
    waits = folders.make("default", told, {})
    done = folders.make("default", told, {})
    folders.write({**done, "state": "done"})
    gateway = Gateway(settings, made.subjects, made.bus, made.gateway.accepts)
    async with served(gateway) as http:
        found = {
            one["id"]: one for one in (await http.get("/api/v1/backtests")).json()["backtests"]
        }
        assert found[waits["id"]]["state"] == "interrupted"
        assert "run it again" in found[waits["id"]]["error"]
        assert found[done["id"]]["state"] == "done"
        second = BacktestJobs(settings, made.store)
        await second.work()  # returns: the folder is another's
        with pytest.raises(Exception, match="another gateway"):
            second.submit("default", told, {})


async def test_a_run_that_the_end_of_the_gateway_cuts_off_is_interrupted(
    made: Running, tmp_path: Path
) -> None:
    settings = made.settings.model_copy(update={"data_dir": str(tmp_path)})
    gateway = Gateway(settings, made.subjects, made.bus, made.gateway.accepts)
    async with served(gateway) as http:
        job = (await http.post("/api/v1/backtests", json=ASKED)).json()
        async with asyncio.timeout(30):
            while (await http.get(f"/api/v1/backtests/{job['id']}")).json()["state"] != "running":
                await asyncio.sleep(0.01)
    kept = JobFolders(tmp_path / "backtests").read("default", job["id"])
    assert kept is not None
    assert kept["state"] == "interrupted"


async def test_a_job_of_another_user_is_not_there(made: Running) -> None:
    job = made.gateway.backtests.folders.make(
        "u2", {"name": "", "from_ns": 0, "to_ns": 1, "symbols": [], "rules": []}, {}
    )
    made.gateway.backtests.folders.write({**job, "state": "done"})
    for method, path in (("GET", ""), ("GET", "/report"), ("GET", "/alerts"), ("DELETE", "")):
        assert (
            await made.refused(method, f"backtests/{job['id']}{path}", 404) == "Backtest not found"
        )
    assert job["id"] not in [one["id"] for one in (await made.get("backtests"))["backtests"]]
    assert await made.refused("GET", "backtests/..", 404)


async def test_folders_of_users_are_apart_whatever_their_ids() -> None:
    folders = JobFolders(Path("/jobs"))
    names = ["a", "../a", "u-a", "a/b", "ä", "", "x" * 65, ".."]
    found = {folders.folder(name) for name in names}
    assert len(found) == len(names)
    assert all(one.parent == Path("/jobs") for one in found)


async def test_a_child_is_given_the_settings_without_secrets() -> None:
    told = {"scanner": {"watch": "*"}}
    settings = Settings(
        mode="production", jwt_secret="s" * 32, functions=told, delivery_private=True
    )
    environment = children.environment_of(settings)
    assert "JETSCAN_JWT_SECRET" not in environment
    assert json.loads(environment["JETSCAN_FUNCTIONS"]) == told
    assert environment["JETSCAN_DELIVERY_PRIVATE"] == "true"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"rules": []}, "expected 1 to 50 rules"),
        ({"rules": ["prise > 1"]}, "did you mean price"),
        ({"from": "soon"}, "from: Value error, expected an RFC 3339 time"),
        ({"to": "2026-01-04"}, "ends after it begins"),
        ({"to": "2026-03-04"}, "at most 31 days"),
        ({"symbols": ["A,B"]}, "found a comma"),
        ({"rule_ids": ["none"]}, "Rule not found"),
    ],
)
async def test_what_cannot_be_run_is_refused_at_once(made: Running, more: Any, says: str) -> None:
    status = 404 if says == "Rule not found" else 400
    assert says in await made.refused("POST", "backtests", status, {**ASKED, **more})


async def tried(made: Running, rule: Any, **more: Any) -> Any:
    answer = await made.http.post("/api/v1/rules/preview", json={"rule": rule, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_preview_counts_what_the_newest_stored_day_would_have_said(made: Running) -> None:
    told = await tried(made, RULE)
    assert (told["count"], told["symbols"]) == (21, 2)  # one of UP, twenty of SAW
    assert told["days"] == {"2026-01-06": 21}
    assert told["examples"][0].keys() == {"symbol", "timestamp", "price"}
    assert any("minute bars" in note for note in told["notes"])
    again = await tried(made, RULE)
    assert (again["cached"], told["cached"], again["count"]) == (True, False, 21)


async def test_a_preview_over_several_days_counts_each(made: Running) -> None:
    told = await tried(made, {"when": RULE}, days=5, symbols=["UP"])
    assert told["days"] == {"2026-01-05": 1, "2026-01-06": 1}
    assert (told["count"], told["symbols"]) == (2, 1)


async def test_a_newer_preview_of_a_user_takes_the_place_of_the_one_before(made: Running) -> None:
    body = {"rule": "price crosses above 10.1 volume >= 0"}
    first = asyncio.create_task(made.http.post("/api/v1/rules/preview", json=body))
    async with asyncio.timeout(5):
        await made.get("rules")  # the first is on its way
        second = await tried(made, "price crosses above 10.2 volume >= 0")
        assert second["count"] > 0
        assert (await first).status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"rule": "prise > 1"}, 400, "did you mean price"),
        ({"rule": RULE, "days": 6}, 400, "days"),
        ({}, 400, "rule"),
    ],
)
async def test_a_preview_of_no_rule_is_refused(
    made: Running, body: Any, status: int, says: str
) -> None:
    assert says in await made.refused("POST", "rules/preview", status, body)


async def test_a_preview_is_bounded_in_time_and_size(made: Running, monkeypatch: Any) -> None:
    monkeypatch.setattr(preview, "PREVIEW_S", 0.05)
    body = {"rule": "price crosses above 9.9 volume >= 0"}
    assert "took longer" in await made.refused("POST", "rules/preview", 504, body)
    monkeypatch.setattr(stored_range, "BARS_MAX", 10)
    assert "fewer days" in await made.refused("POST", "rules/preview", 413, body)


async def test_without_bars_or_a_database_there_is_no_preview(
    made: Running, postgres: str, template: str, tmp_path: Path
) -> None:
    url = await database_in(postgres, template)
    body = {"rule": RULE}
    async with running(tmp_path / "empty", url) as empty:
        answer = await empty.http.post("/api/v1/rules/preview", json=body)
        assert (answer.status_code, answer.json()["count"]) == (200, 0)
        assert "no bars are stored" in answer.json()["notes"][0]
    async with running(tmp_path / "none") as none:
        assert "database" in await none.refused("POST", "rules/preview", 503, body)
        assert "database" in await none.refused("POST", "backtests", 503, ASKED)
