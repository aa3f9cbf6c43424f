"""Whose an object is: to somebody else every route that names it answers as if it were not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from runtime.frames import Frame, encode, texts
from runtime.gateway.openapi import PATH, operations
from tests.conftest import database_in
from tests.gateway.deployment import running
from tests.gateway.test_owned import HOOK, MINE, RULE, SECRET, People

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPLIST = {"id": "cheap", "name": "Cheap", "metric": "change_pct", "time_window": "5m", "sort_order": "desc"}  # fmt: skip
CHANNEL = {"kind": "email", "to": "bob@example.com"}
RULES, LISTS, CHANNELS = "/api/v1/rules/{rule_id}", "/api/v1/watchlists/{list_id}", "/api/v1/channels/{name}"  # fmt: skip
TOPLISTS, JOBS, ADMIN = "/api/v1/toplists/user/{name}", "/api/v1/backtests/{job_id}", "/api/v1/admin"  # fmt: skip

# method, address, what names the object of Ann, a body that would be taken, what Bob is answered
CASES: list[tuple[str, str, dict[str, str], Any, int]] = [
    ("get", RULES, {"rule_id": "r1"}, None, 404),
    ("put", RULES, {"rule_id": "r1"}, RULE, 404),
    ("delete", RULES, {"rule_id": "r1"}, None, 404),
    ("get", f"{RULES}/versions", {"rule_id": "r1"}, None, 404),
    ("post", f"{RULES}/validate", {"rule_id": "r1"}, None, 404),
    ("get", f"{RULES}/outcomes", {"rule_id": "r1"}, None, 404),
    ("get", f"{RULES}/why", {"rule_id": "r1", "?": "symbol=AAPL"}, None, 404),
    ("get", "/api/v1/alerts/{alert_id}", {"alert_id": "a-1"}, None, 404),
    ("get", LISTS, {"list_id": "mine"}, None, 404),
    ("put", LISTS, {"list_id": "mine"}, MINE, 404),
    ("delete", LISTS, {"list_id": "mine"}, None, 404),
    ("post", f"{LISTS}/symbols", {"list_id": "mine"}, {"symbols": ["MSFT"]}, 404),
    ("put", f"{LISTS}/symbols/{{symbol}}", {"list_id": "mine", "symbol": "MSFT"}, None, 404),
    ("delete", f"{LISTS}/symbols/{{symbol}}", {"list_id": "mine", "symbol": "AAPL"}, None, 404),
    ("get", CHANNELS, {"name": "hook"}, None, 404),
    ("put", CHANNELS, {"name": "hook"}, CHANNEL, 404),
    ("delete", CHANNELS, {"name": "hook"}, None, 404),
    ("post", f"{CHANNELS}/test", {"name": "hook"}, None, 404),
    ("get", JOBS, {"job_id": "JOB"}, None, 404),
    ("delete", JOBS, {"job_id": "JOB"}, None, 404),
    ("get", f"{JOBS}/report", {"job_id": "JOB"}, None, 404),
    ("get", f"{JOBS}/alerts", {"job_id": "JOB"}, None, 404),
    ("get", TOPLISTS, {"name": "cheap"}, None, 403),
    ("put", TOPLISTS, {"name": "cheap"}, TOPLIST, 403),
    ("delete", TOPLISTS, {"name": "cheap"}, None, 403),
    ("get", f"{TOPLISTS}/rankings", {"name": "cheap"}, None, 403),
    ("delete", "/api/v1/auth/keys/{key_id}", {"key_id": "KEY"}, None, 404),
    ("get", f"{ADMIN}/users/{{user_id}}", {"user_id": "ann"}, None, 403),
    ("put", f"{ADMIN}/users/{{user_id}}", {"user_id": "ann"}, {"name": "Bob"}, 403),
    ("delete", f"{ADMIN}/users/{{user_id}}", {"user_id": "ann"}, None, 403),
    ("post", f"{ADMIN}/users/{{user_id}}/revoke", {"user_id": "ann"}, None, 403),
    ("post", f"{ADMIN}/functions/{{name}}/pause", {"name": "scanner"}, None, 403),
    ("post", f"{ADMIN}/functions/{{name}}/resume", {"name": "scanner"}, None, 403),
    ("get", f"{ADMIN}/dead/{{sequence}}", {"sequence": "1"}, None, 403),
    ("delete", f"{ADMIN}/dead/{{sequence}}", {"sequence": "1"}, None, 403),
    ("post", f"{ADMIN}/dead/{{sequence}}/redrive", {"sequence": "1"}, None, 403),
]
# What these name belongs to everybody.
OF_EVERYBODY = {
    "/api/v1/bars/{symbol}",
    "/api/v1/symbols/{symbol}",
    "/api/v1/symbols/{symbol}/metrics",
    "/api/v1/toplists/system/{name}",
}


async def alert_of_ann(people: People) -> None:
    """An alert of Ann's rule, as the alerts function writes it."""
    columns = {
        "ts_ns": np.array([10**9]),
        "price": np.array([1.5]),
        "id": texts(["a-1"]),
        "rule_id": texts(["r1"]),
        "rule_name": texts(["Up"]),
        "values": texts(['{"metrics":{"price":1.5}}']),
        "number": np.array([1]),
    }
    frame = Frame(columns, ["A"], np.zeros(1, dtype=int), "alerts")
    record = people.made.subjects.record_of("alerts.filtered")
    await people.made.bus.put("alerts.filtered", encode(frame, record))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def owned(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, template: str
) -> AsyncIterator[tuple[People, dict[str, str]]]:
    """Everything that Ann can own, and the ids that are made up."""
    url = await database_in(postgres, template)
    directory: Path = tmp_path_factory.mktemp("ownership")
    async with running(directory, url, mode="production", jwt_secret=SECRET) as made:
        people = People(made)
        async with people.ann, people.bob, people.root:
            for path, body in [("/rules", RULE), ("/watchlists", MINE), ("/channels", HOOK), ("/toplists/user", TOPLIST)]:  # fmt: skip
                assert (await people.ann.post(path, json=body)).status_code == 201, path
            ended = {"state": "failed", "error": "none", "rules": [], "from_ns": 0, "to_ns": 10**9}
            job = made.gateway.backtests.folders.make("ann", ended, {})
            await alert_of_ann(people)
            while (await people.ann.get("/alerts/a-1")).status_code != 200:
                pass
            key = await people.ann.post("/auth/keys", json={"name": "script"})
            assert key.status_code == 201, key.text
            yield people, {"JOB": job["id"], "KEY": key.json()["id"]}


@pytest.mark.parametrize(
    ("method", "path", "names", "body", "status"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES]
)
async def test_another_users_object_is_not_there(
    owned: tuple[People, dict[str, str]],
    method: str,
    path: str,
    names: dict[str, str],
    body: Any,
    status: int,
) -> None:
    people, made = owned
    whole = {name: made.get(value, value) for name, value in names.items()}
    query = {"symbol": "AAPL"} if "?" in whole else {}
    address = str(people.made.http.base_url) + path.format(**whole)
    answer = await people.bob.request(method, address, json=body, params=query)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    missing = {name: "0" if name == "sequence" else "none" for name in names}
    other = await people.bob.request(
        method, str(people.made.http.base_url) + path.format(**missing), json=body, params=query
    )
    if status == 404:  # nothing tells that it exists
        assert answer.json()["detail"] == other.json()["detail"]


async def test_its_owner_has_all_of_it_still(owned: tuple[People, dict[str, str]]) -> None:
    people, made = owned
    for path in ("/rules/r1", "/watchlists/mine", "/channels/hook", "/toplists/user/cheap", f"/backtests/{made['JOB']}"):  # fmt: skip
        assert (await people.ann.get(path)).status_code == 200, path


async def test_every_route_that_names_an_object_is_among_the_cases(
    owned: tuple[People, dict[str, str]],
) -> None:
    people, _ = owned
    document = (await people.made.http.get("/docs/openapi.json")).json()
    assert document["info"]["title"], PATH
    named = {(method, path) for path, method, _ in operations(document) if "{" in path}
    cases = {(method, path) for method, path, _, _, _ in CASES}
    assert {one for one in named if one[1] not in OF_EVERYBODY} == cases
