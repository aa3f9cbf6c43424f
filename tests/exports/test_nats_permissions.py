"""Each part runs with what is exported for it and no more: on a real server, everything else is refused."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from nats.aio.client import Client

from runtime.bus import Bus, BusError
from runtime.config import Settings
from runtime.credentials import address_of, signed
from runtime.exports.nats_permissions import permissions_of, users_of
from runtime.exports.parts import parts_of
from runtime.gateway.gateway import Gateway
from runtime.ingest import run_ingest
from runtime.loader import Plan, load_plan
from runtime.ownership import unit_key
from runtime.probe import SUBJECT as PROBED
from runtime.provision import provision
from runtime.store import Store
from runtime.subjects import Subjects, load_subjects, matches
from runtime.worker import Worker, run_worker
from tests.conftest import ROOT, database_in
from tests.exports.closed import Closed, closed_server
from tests.gateway.deployment import served

FEED = "sim://?symbols=12&seed=7&warm=3m&speed=2"
RULE = {
    "id": "any",
    "name": "Any",
    "conditions": [{"metric": "price", "operator": ">", "value": 0}],
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(ROOT / "functions", load_subjects(ROOT / "subjects.yaml"))


@pytest.fixture
async def closed(tmp_path: Path, subjects: Subjects, plan: Plan) -> AsyncIterator[Closed]:
    async with closed_server(tmp_path / "closed", permissions_of(plan, subjects)) as server:
        bus = await server.connect("provision")
        await provision(bus, subjects)
        await bus.close()
        yield server


# -- it is enough


async def test_a_probe_trades_its_own_symbol(closed: Closed) -> None:
    bus = await closed.connect("probe")
    assert await bus.put(PROBED, b'{"price": 1, "size": 1, "id": 7}', {}, "probe-7") == 1
    await bus.close()
    assert closed.violations() == []


async def test_a_whole_deployment_runs_and_nothing_it_does_is_refused(
    closed: Closed, subjects: Subjects, plan: Plan, postgres: str, template: str, tmp_path: Path
) -> None:
    database = await database_in(postgres, template)
    store = Store(database)
    settings = Settings(
        database_url=database,
        data_dir=str(tmp_path),
        functions_dir=str(ROOT / "functions"),
    )
    async with asyncio.TaskGroup() as group, asyncio.timeout(150):
        workers: list[Worker] = []
        for part in parts_of(plan):  # one after the other: each holds this loop up while it loads
            url, only_sinks, before = closed.url(part.name), part.chain is None, len(workers)
            group.create_task(
                run_worker(settings, subjects, url, part.hosts, False, workers.append, only_sinks)
            )
            while len(workers) == before or not workers[-1].is_ready:
                await asyncio.sleep(0.02)
        accepts = {k: v for one in plan.functions for k, v in one.declaration.accepts.items()}
        bus = await closed.connect("gateway")
        async with served(Gateway(settings, subjects, bus, accepts)) as http:
            feed = group.create_task(run_ingest(settings, subjects, closed.url("ingest"), [FEED]))
            await used(http)
            while not await is_through(http, store):
                assert not feed.done()
                await asyncio.sleep(0.2)
            await asked(http, closed)
        for worker in workers:
            worker.stop()
        feed.cancel()
    await bus.close()
    await store.close()
    assert closed.violations() == []


async def used(http: httpx.AsyncClient) -> None:
    """What people do on the page that goes over NATS."""
    for method, path, body in (
        ("POST", "rules", RULE),
        ("POST", "channels", {"name": "desk", "kind": "email", "to": "me@example.com"}),
        ("PUT", "user/subscriptions", {"subscriptions": [{}], "channels": ["desk"]}),
        ("GET", "status", None),
        ("GET", "admin/dead", None),
        ("GET", "universe", None),
        ("GET", "admin/functions", None),
    ):
        answer = await http.request(method, f"/api/v1/{path}", json=body)
        assert answer.status_code < 300, (method, path, answer.text)


async def asked(http: httpx.AsyncClient, closed: Closed) -> None:
    """What is asked of workers; a frame that becomes a dead letter, and one again when it is put back."""
    feed = await closed.connect("ingest")
    await feed.put("ticks.trades.0", b"not a frame")
    await feed.close()
    async with asyncio.timeout(20):
        while not (await http.get("/api/v1/admin/dead")).json()["total"]:
            await asyncio.sleep(0.1)
    symbol = (await http.get("/api/v1/alerts")).json()["alerts"][0]["symbol"]
    for method, path in (
        ("GET", f"symbols/{symbol}/metrics?names=price"),
        ("GET", f"rules/any/why?symbol={symbol}"),
        ("POST", "admin/dead/1/redrive"),
        ("POST", "admin/functions/notify/pause"),
        ("POST", "admin/functions/notify/resume"),
    ):
        answer = await http.request(method, f"/api/v1/{path}")
        assert answer.status_code in (200, 504), (method, path, answer.text)  # late is not refused
    async with asyncio.timeout(20):
        while (await http.get("/api/v1/admin/lag")).json()["workers"] < 6:
            await asyncio.sleep(0.1)


async def test_workers_may_do_what_only_trouble_asks_of_them(
    closed: Closed, subjects: Subjects, plan: Plan
) -> None:
    for part in parts_of(plan):
        if part.chain is None:
            continue
        bus = await closed.connect(part.name)
        kv, key = bus.kv("snapshots"), unit_key((part.name, part.chain.partitions[0]))
        await kv.put(f"{key}.1-1.0", b"left behind")
        assert await kv.keys(key) == [f"{key}.1-1.0"]
        direct = await bus.request(f"$JS.API.DIRECT.GET.KV_snapshots.$KV.snapshots.{key}.1-1.0")
        assert direct.data == b"left behind"
        await kv.purge(f"{key}.1-1.>")
        await bus.kv("functions").put(f"suspect.{key}", b"")
        await bus.kv("functions").delete(f"suspect.{key}")
        for base in part.chain.writes:
            stream = subjects.subjects[base].stream
            if stream:
                subject = subjects.outputs(base, part.chain.partitions[0])[0]
                await bus.put(subject, b"by hand")
                assert len(await bus.history(stream, subject, 5)) == 1
        await bus.close()
    assert closed.violations() == []


# -- and it is all


async def test_everything_else_is_refused(closed: Closed, subjects: Subjects, plan: Plan) -> None:
    users = users_of(plan, subjects)
    users.pop("operator")
    said = {concrete(one) for user in users.values() for one in user.publish}
    said |= {"$JS.API.STREAM.DELETE.MARKET", "$JS.API.CONSUMER.DELETE.MARKET.market-0", "anything"}
    said |= {"$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.DURABLE.CREATE.BARS.x", "$SYS.REQ.USER.INFO"}
    said |= {f"_INBOX.{name}.x" for name in users} | {"$JS.ACK.BARS.other.1.1.1.1.1"}
    heard = {one for user in users.values() for one in user.subscribe}
    heard |= {">", "*.>", "_INBOX.>", "ticks.>", "alerts.>", "$KV.channels.>", "$JS.>"}
    assert len(said) > 300
    for name, user in users.items():
        wrong = {one for one in said if not may(user.publish, one)}
        wrong |= {one for one in said if may(user.deny_publish, one)}
        deaf = {one for one in heard if one not in user.subscribe}
        await all_refused(closed.url(name), wrong, deaf)


def concrete(pattern: str) -> str:
    """A subject that a pattern matches."""
    return pattern.replace("*", "x").replace(">", "x.x.x.x.x")


def may(patterns: set[str], subject: str) -> bool:
    return any(matches(pattern, subject) for pattern in patterns)


async def all_refused(url: str, publish: set[str], subscribe: set[str]) -> None:
    """Try everything as a user, until the server has refused all of it; what it lets through is shown."""
    address, let = address_of(url), {one.lower() for one in publish | subscribe}

    async def heard(error: Exception) -> None:  # nats-py tells it in small letters
        let.difference_update(re.findall(r'to "([^"]+)"', str(error)))

    client = Client()
    await client.connect(
        address.servers, user=address.user, password=address.password, error_cb=heard
    )
    for subject in publish:
        await client.publish(subject, b"")
    for subject in subscribe:
        await client.subscribe(subject)
    await client.flush()
    until = time.monotonic() + 3
    while let and time.monotonic() < until:
        await asyncio.sleep(0.01)
    await client.close()
    assert let == set(), f"{address.user} may do this"


async def test_somebody_unknown_does_not_get_in(closed: Closed) -> None:
    for url in (closed.address, signed(closed.address, "market", "wrong")):
        with pytest.raises(BusError, match="uthorization"):
            await Bus.connect(url, "stranger", connect_s=0.5)


async def is_through(http: httpx.AsyncClient, store: Store) -> bool:
    """Whether alerts and rankings came to the gateway, and alerts and bars to the database."""
    alerts = (await http.get("/api/v1/alerts")).json()["count"]
    lists = (await http.get("/api/v1/toplists/system/gainers_1m")).json()
    kept = await store.fetch("SELECT count(*) AS n FROM alert_history")
    bars = await store.fetch("SELECT count(*) AS n FROM bars_1m")
    told = await store.fetch("SELECT count(*) AS n FROM deliveries")
    return bool(alerts and lists and kept[0]["n"] and bars[0]["n"] and told[0]["n"])


# -- who that is, said by hand


@pytest.mark.parametrize(
    ("subject", "users"),
    [
        ("ticks.trades.3", {"ingest"}),
        ("ticks.raw.ZZPROBE", {"probe"}),
        ("ticks.raw.AAPL", set()),
        ("alerts.3", {"market", "worker"}),
        ("alerts.filtered", {"alerts", "worker"}),
        ("alerts.receipts", {"notify", "worker"}),
        ("control.3", {"gateway"}),
        ("$KV.rules.x", {"gateway"}),
        ("$KV.channels.ann.desk", {"gateway"}),
        ("$JS.API.STREAM.MSG.GET.KV_channels", {"gateway", "notify", "worker"}),
        ("$JS.API.DIRECT.GET.KV_channels", {"gateway", "notify", "worker"}),
        ("$JS.API.DIRECT.GET.KV_channels.$KV.channels.x", {"gateway", "notify", "worker"}),
        ("$JS.API.CONSUMER.CREATE.KV_channels", set()),
        ("$KV.snapshots.market.3", {"market", "worker"}),
        ("$KV.owners.alerts.all", {"alerts", "worker"}),
        ("$JS.API.CONSUMER.RESET.MARKET.market-3", {"market", "worker"}),
        ("$JS.API.CONSUMER.MSG.NEXT.MARKET.market-3", {"market", "worker"}),
        ("$JS.API.CONSUMER.MSG.NEXT.ALERTS.sink-notify", {"notify", "worker"}),
        ("$JS.API.CONSUMER.DELETE.MARKET.market-3", set()),
        ("$JS.API.STREAM.MSG.DELETE.DEAD", {"gateway"}),
        ("$JS.API.STREAM.CREATE.MARKET", {"provision"}),
        ("$JS.API.STREAM.DELETE.MARKET", set()),
        ("$JS.API.STREAM.PURGE.MARKET", set()),
        ("$JS.API.STREAM.SNAPSHOT.MARKET", set()),
        ("redrive.MARKET.bars.3", {"gateway"}),
        ("_INBOX.gateway.x", set()),
    ],
)
def test_who_may_say_what(subject: str, users: set[str], subjects: Subjects, plan: Plan) -> None:
    known = users_of(plan, subjects)
    saying = {
        name
        for name, user in known.items()
        if may(user.publish, subject) and not may(user.deny_publish, subject)
    }
    assert saying == users | {"operator"}


def test_everybody_hears_answers_to_itself_only(subjects: Subjects, plan: Plan) -> None:
    users = users_of(plan, subjects)
    users.pop("operator")
    for name, user in users.items():
        hearing = {other for other in users if may(user.subscribe, f"_INBOX.{other}.x.1")}
        assert hearing == {name}
