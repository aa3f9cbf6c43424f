"""Deliveries on a real bus to real servers: each channel by itself, receipts, dead letters put back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgpack
import numpy as np
import pytest

from functions.notify import notify
from runtime import outbound as outbound_module
from runtime.config import Settings
from runtime.couriers import CourierHost
from runtime.deadletters import letters, redrive
from runtime.frames import Frame, decode, encode, texts
from runtime.loader import hosted_of
from runtime.outbound import Outbound
from runtime.subjects import Subjects
from tests.conftest import Nats
from tests.runtime.servers import Request, mail, web

ALERT = {
    "id": "a1", "kind": "alert", "rule_id": "r1", "rule_name": "Up", "symbol": "AAPL", "price": 187.2, "seq": 7,
    "timestamp": "2026-01-05T14:30:00.000000000Z", "message": "Rule 'Up' matched for AAPL",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound_module, "PAUSE_S", 0.05)
    monkeypatch.setattr(outbound_module, "BUSY_S", 0.05)


@contextlib.asynccontextmanager
async def hosted(nats: Nats, subjects: Subjects, **settings: Any) -> AsyncIterator[CourierHost]:
    """The sink, in this process."""
    smtp_url = settings.pop("smtp_url", "")
    way_out = Outbound(Settings(delivery_private=True, smtp_url=smtp_url))
    host = CourierHost(nats.bus, subjects, hosted_of(notify, settings), 3, lambda _: False, way_out)
    running = asyncio.create_task(host.run())
    try:
        yield host
    finally:
        host.drain()
        await running
        await way_out.close()


async def channel(nats: Nats, name: str, **told: str) -> None:
    await nats.bus.kv("channels").put(f"u1.{name}", json.dumps(told).encode())


async def send(nats: Nats, subjects: Subjects, name: str, identity: str, **body: Any) -> None:
    columns: dict[str, Any] = {"ts_ns": np.array([1])}
    told = {"user": "u1", "channel": name, "id": identity, "kind": "alert"}
    told["body"] = json.dumps({**ALERT, **body})
    columns |= {key: texts([text]) for key, text in told.items()}
    await nats.bus.put("alerts.outbox", encode(Frame(columns), subjects.record_of("alerts.outbox")))


async def receipts(nats: Nats, subjects: Subjects) -> list[tuple[Any, ...]]:
    record = subjects.record_of("alerts.receipts")
    found = [
        decode(one.data, record) for one in await nats.bus.history("ALERTS", "alerts.receipts", 999)
    ]
    return [
        tuple(frame[name][0] for name in ("channel", "id", "outcome", "status")) for frame in found
    ]


async def until(check: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while not (found := await check()):
            await asyncio.sleep(0.02)
        return found


async def test_each_kind_of_channel_gets_the_alert_in_its_own_form(
    nats: Nats, subjects: Subjects
) -> None:
    async with mail() as post, web(lambda _: (200, {}, b"")) as server:
        await channel(nats, "hook", kind="webhook", url=server.url + "/hook", secret="s3cret")
        await channel(nats, "chat", kind="discord", url=server.url + "/discord")
        await channel(nats, "phone", kind="telegram", token="T0", chat_id="42", api=server.url)
        await channel(nats, "mail", kind="email", to="me@here.test")
        async with hosted(nats, subjects, smtp_url=f"smtp://127.0.0.1:{post.port}"):
            for name in ("hook", "chat", "phone", "mail"):
                await send(nats, subjects, name, f"id-{name}")
            await until(lambda: _count(nats, subjects, 4))
        by_path = {one.path: one for one in server.requests}
        hook = by_path["/hook"]
        assert json.loads(hook.body) == ALERT
        assert hook.headers["idempotency-key"] == "id-hook"
        assert hook.headers["x-jetscan-signature"].startswith("t=")
        chat = json.loads(by_path["/discord"].body)
        assert chat["content"].startswith(
            "Rule 'Up' matched for AAPL\n187.2 at 2026-01-05T14:30:00Z"
        )
        assert chat["allowed_mentions"] == {"parse": []}
        assert json.loads(by_path["/botT0/sendMessage"].body)["chat_id"] == "42"
        assert "Message-ID: <id-mail@jetscan>" in post.messages[0]
    assert {one[2] for one in await receipts(nats, subjects)} == {"delivered"}


async def _count(nats: Nats, subjects: Subjects, least: int) -> bool:
    return len(await receipts(nats, subjects)) >= least


async def test_a_channel_that_fails_comes_again_and_holds_no_other_back(
    nats: Nats, subjects: Subjects
) -> None:
    failing = True

    def answer(request: Request) -> Any:
        return (500 if failing and request.path == "/bad" else 200), {}, b""

    async with web(answer) as server:
        await channel(nats, "bad", kind="webhook", url=server.url + "/bad")
        await channel(nats, "good", kind="webhook", url=server.url + "/good")
        async with hosted(nats, subjects):
            for number in range(100):
                await send(nats, subjects, "bad", f"bad-{number}")
            await send(nats, subjects, "good", "good-1")
            await until(lambda: _delivered(nats, subjects, {"good-1"}))
            failing = False
            await until(lambda: _delivered(nats, subjects, {f"bad-{n}" for n in range(100)}))
    assert await letters(nats.bus) == []
    keys = [one.headers["idempotency-key"] for one in server.requests]
    assert set(keys) == {"good-1", *(f"bad-{number}" for number in range(100))}


async def _delivered(nats: Nats, subjects: Subjects, wanted: set[str]) -> bool:
    return wanted <= {one[1] for one in await receipts(nats, subjects) if one[2] == "delivered"}


async def test_what_is_refused_is_a_dead_letter_without_secrets_and_can_be_put_back(
    nats: Nats, subjects: Subjects
) -> None:
    status = 403
    async with web(lambda _: (status, {}, b"")) as server:
        await channel(
            nats, "phone", kind="telegram", token="T0PS3CRET", chat_id="4", api=server.url
        )
        async with hosted(nats, subjects):
            await send(nats, subjects, "phone", "one")
            (letter,) = await until(lambda: letters(nats.bus))
            assert letter.function == "notify"
            assert letter.reason == "Drop: u1.phone try 1: 127.0.0.1 answered 403"
            assert b"T0PS3CRET" not in msgpack.packb(vars(letter))
            assert await receipts(nats, subjects) == [("phone", "one", "failed", 403)]
            await redrive(nats.bus, letter.sequence)  # and it fails again
            (letter,) = await until(lambda: letters(nats.bus))
            assert letter.subject == "alerts.outbox"
            status = 200
            await redrive(nats.bus, letter.sequence)
            await until(lambda: _delivered(nats, subjects, {"one"}))
    assert await letters(nats.bus) == []


async def test_a_delivery_that_fails_for_too_long_is_a_dead_letter(
    nats: Nats, subjects: Subjects
) -> None:
    async with web(lambda _: (503, {}, b"")) as server:
        await channel(nats, "hook", kind="webhook", url=server.url)
        async with hosted(nats, subjects, give_up_s=0):
            await send(nats, subjects, "hook", "one")
            (letter,) = await until(lambda: letters(nats.bus))
            assert "answered 503" in letter.reason
    assert await receipts(nats, subjects) == [("hook", "one", "failed", 503)]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (None, "user u1 has no channel hook"),
        ({"kind": "fax"}, "expected an object with a kind of webhook, email, discord, telegram"),
        ({"kind": "telegram", "chat_id": "4"}, "a telegram wants texts for chat_id, token"),
    ],
)
async def test_a_channel_that_cannot_be_used_says_what_is_missing(
    nats: Nats, subjects: Subjects, told: Any, says: str
) -> None:
    if told:
        await channel(nats, "hook", **told)
    async with hosted(nats, subjects):
        await send(nats, subjects, "hook", "one")
        (letter,) = await until(lambda: letters(nats.bus))
    assert says in letter.reason


async def test_a_digest_is_told_with_its_counts_and_the_strongest(
    nats: Nats, subjects: Subjects
) -> None:
    async with web(lambda _: (200, {}, b"")) as server:
        await channel(nats, "chat", kind="discord", url=server.url)
        top = [{"symbol": f"S{k}", "price": 1.5, "rule_name": "New low"} for k in range(20)]
        digest = {"kind": "digest", "message": "137 alerts in 10 s: 137 New low", "top": top, "seq_from": 3, "seq_to": 139}  # fmt: skip
        async with hosted(nats, subjects):
            await send(nats, subjects, "chat", "d", **digest)
            await until(lambda: _delivered(nats, subjects, {"d"}))
        text = json.loads(server.requests[0].body)["content"].splitlines()
        assert text[0] == "137 alerts in 10 s: 137 New low"
        assert text[1] == "S0 1.5 New low"
        assert text[-1] == "All of them: alerts 3 to 139"
