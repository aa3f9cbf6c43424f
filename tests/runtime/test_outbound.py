"""What goes out on behalf of users: where it may go, what an answer means, who waits for whom."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest

from runtime import outbound as module
from runtime import targets
from runtime.config import Settings
from runtime.outbound import Outbound, signature
from runtime.targets import TargetRefused, is_public, public_address
from tests.runtime.servers import mail, web


@pytest.fixture
async def out() -> AsyncIterator[Outbound]:
    made = Outbound(Settings(delivery_private=True))
    yield made
    await made.close()


@pytest.fixture
async def guarded() -> AsyncIterator[Outbound]:
    made = Outbound(Settings())
    yield made
    await made.close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
        "100.64.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "224.0.1.1", "240.0.0.1", "255.255.255.255",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808",
        "2002:7f00:1::1", "2001:0:1::1", "2001:db8::1", "fec0::1", "::ffff:0:127.0.0.1", "4000::1", "fe00::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_public_internet_is_no_target(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_a_target(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "::1"])
async def test_no_spelling_of_this_machine_is_a_target(host: str) -> None:
    with pytest.raises(TargetRefused, match="expected a public address"):
        await public_address(host, 443)


async def test_a_private_target_and_plain_http_are_refused_for_good_and_nothing_is_sent(
    guarded: Outbound,
) -> None:
    async with web(lambda _: (200, {}, b"")) as server:
        plain = await guarded.post("a", server.url, b"{}")
        private = await guarded.post("b", f"https://127.0.0.1:{server.port}/secret-path", b"{}")
        assert (plain.outcome, private.outcome) == ("never", "never")
        assert "expected https" in plain.reason
        assert "expected a public address, found 127.0.0.1" in private.reason
        assert "secret-path" not in private.reason
        assert server.requests == []


async def test_the_connection_is_made_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up, look_up = [], socket.getaddrinfo

    def once(host: str, port: int, *more: int, **kinds: int) -> list[tuple[object, ...]]:
        looked_up.append(host)
        return look_up("127.0.0.1", port, *more, **kinds)  # type: ignore[return-value]

    async with web(lambda _: (200, {}, b"")) as server:
        monkeypatch.setattr(socket, "getaddrinfo", once)
        monkeypatch.setattr(targets, "is_public", lambda address: address == "127.0.0.1")
        stream = await targets._Checked().connect_tcp("hooks.example", server.port)
        assert stream.get_extra_info("server_addr")[:2] == ("127.0.0.1", server.port)
        await stream.aclose()
        assert [one for one in looked_up if "hooks" in str(one)] == ["hooks.example"]


async def test_a_name_with_one_private_address_among_public_ones_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def two(_: str, port: int, **__: int) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", ("8.8.8.8", port)), (0, 0, 0, "", ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with pytest.raises(TargetRefused):
        await public_address("hooks.example", 443)


async def test_names_whose_servers_never_answer_hold_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def looked_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host == "slow.test":
            over.wait(10)
        return [(0, 0, 0, "", ("8.8.8.8", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    slow = [asyncio.create_task(public_address("slow.test", 443)) for _ in range(40)]
    try:
        found = await asyncio.wait_for(public_address("good.test", 443), 5)
    finally:
        over.set()
    assert found == "8.8.8.8"
    assert await asyncio.gather(*slow) == ["8.8.8.8"] * 40


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ok"), (204, "ok"), (302, "never"), (400, "never"), (404, "never"), (410, "never"),
     (408, "later"), (425, "later"), (429, "later"), (500, "later"), (503, "later")],
)  # fmt: skip
async def test_what_an_answer_means(out: Outbound, status: int, outcome: str) -> None:
    async with web(lambda _: (status, {"Location": "http://127.0.0.1:1/"}, b"")) as server:
        answer = await out.post("a", server.url, b"{}")
        assert (answer.outcome, answer.status) == (outcome, status)
        assert len(server.requests) == 1  # a redirect is not followed


@pytest.mark.parametrize(
    ("headers", "body", "wait_s"),
    [
        ({"Retry-After": "7"}, b"", 7.0),
        ({}, b'{"retry_after": 1.5}', 1.5),
        ({}, b'{"ok": false, "parameters": {"retry_after": 9}}', 9.0),
        ({"Retry-After": "999999"}, b"", 3600.0),
        ({"Retry-After": "nan"}, b"", 0.0),
        ({"Retry-After": "soon"}, b"", 0.0),
        ({}, b"[]", 0.0),
    ],
)
async def test_who_asks_us_to_wait_is_heard(
    out: Outbound, headers: dict[str, str], body: bytes, wait_s: float
) -> None:
    async with web(lambda _: (429, headers, body)) as server:
        assert (await out.post("a", server.url, b"{}")).wait_s == wait_s


async def test_a_date_to_wait_for_is_heard(out: Outbound) -> None:
    when = {"Retry-After": formatdate(time.time() + 60, usegmt=True)}
    async with web(lambda _: (503, when, b"")) as server:
        assert 50 < (await out.post("a", server.url, b"{}")).wait_s <= 60


async def test_an_answer_without_end_is_not_read_to_its_end(
    out: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 1000)
    async with web(lambda _: (200, {}, b"x" * 5_000_000)) as server:
        assert (await out.post("a", server.url, b"{}")).outcome == "ok"


async def test_a_target_that_never_answers_is_given_up_in_time(
    out: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    async with web(lambda _: (200, {}, b"")) as server:
        server.pause = asyncio.Event()
        answer = await out.post("a", server.url, b"{}")
        assert (answer.outcome, answer.reason) == ("later", "127.0.0.1: TimeoutError")


async def test_a_lane_that_fails_waits_alone(out: Outbound) -> None:
    async with web(lambda request: (500 if request.path == "/bad" else 200, {}, b"")) as server:
        assert (await out.post("bad", server.url + "/bad", b"{}")).outcome == "later"
        assert (await out.post("bad", server.url + "/bad", b"{}")).outcome == "busy"
        assert (await out.post("good", server.url + "/good", b"{}")).outcome == "ok"
        assert [one.path for one in server.requests] == ["/bad", "/good"]


async def test_a_lane_that_failed_has_one_try_at_a_time_until_one_is_taken(
    out: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "pause_s", lambda tries: 0.0)
    status = 500
    async with web(lambda _: (status, {}, b"")) as server:
        await out.post("a", server.url, b"{}")
        status, server.pause = 200, asyncio.Event()
        under_way = asyncio.create_task(out.post("a", server.url, b"{}"))
        await asyncio.sleep(0)
        assert (await out.post("a", server.url, b"{}")).outcome == "busy"
        server.pause.set()
        assert (await under_way).outcome == "ok"
        several = await asyncio.gather(*(out.post("a", server.url, b"{}") for _ in range(3)))
        assert [one.outcome for one in several] == ["ok"] * 3


async def test_a_slow_lane_has_a_few_under_way_and_others_do_not_wait_for_it(out: Outbound) -> None:
    async with web(lambda _: (200, {}, b"")) as slow, web(lambda _: (200, {}, b"")) as fast:
        slow.pause = asyncio.Event()
        under_way = [asyncio.create_task(out.post("s", slow.url, b"{}")) for _ in range(10)]
        assert (await out.post("f", fast.url, b"{}")).outcome == "ok"
        slow.pause.set()
        outcomes = [(await one).outcome for one in under_way]
        assert outcomes.count("ok") == module.LANE_AT_ONCE
        assert outcomes.count("busy") == 10 - module.LANE_AT_ONCE


def test_pauses_grow_are_scattered_and_have_an_end() -> None:
    made = Outbound(Settings())
    for tries, most in ((1, 2.0), (4, 16.0), (99, 300.0)):
        pauses = [made.pause_s(tries) for _ in range(500)]
        assert most / 2 < max(pauses) <= most
        assert 0.25 <= min(pauses) < most / 4


async def test_no_address_reaches_the_log(out: Outbound, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with web(lambda _: (200, {}, b"")) as server:
            await out.post("a", f"{server.url}/bot-token", b"{}")
    assert "bot-token" not in caplog.text


def test_the_signature_is_the_hmac_of_time_and_body() -> None:
    # computed with openssl dgst -sha256 -hmac key
    told = signature("key", b'{"a":1}', 1_700_000_000)
    assert told.startswith("t=1700000000,v1=")
    assert len(told) == len("t=1700000000,v1=") + 64
    assert told != signature("key", b'{"a":1}', 1_700_000_001)
    assert told != signature("other", b'{"a":1}', 1_700_000_000)


async def test_mail_is_taken_refused_for_good_or_put_off() -> None:
    async with mail() as server:
        made = Outbound(Settings(smtp_url=f"smtp://127.0.0.1:{server.port}", smtp_from="a@b.test"))
        first = await made.mail("l", "me@c.test", "One\nline", "Text", "id-1")
        assert (first.outcome, first.status) == ("ok", 250)
        assert "Message-ID: <id-1@jetscan>" in server.messages[0]
        assert "Subject: One line" in server.messages[0]
        server.refusal = "550 nobody here"
        assert (await made.mail("l", "me@c.test", "S", "T", "id-2")).outcome == "never"
        server.refusal = "451 busy"
        assert (await made.mail("l", "me@c.test", "S", "T", "id-3")).outcome == "later"
        assert (
            await made.mail("x", "me@c.test\nBcc: you@c.test", "S", "T", "i")
        ).outcome == "never"
        assert len(server.messages) == 1
        await made.close()


async def test_mail_waits_while_the_server_refuses_our_login() -> None:
    async with mail() as server:
        server.no_login = "535 5.7.8 who are you"
        made = Outbound(Settings(smtp_url=f"smtp://us:secret@127.0.0.1:{server.port}"))
        answer = await made.mail("l", "me@c.test", "S", "T", "i")
        assert (answer.outcome, answer.status, server.messages) == ("later", 535, [])
        assert "JETSCAN_SMTP_URL" in answer.reason
        assert "secret" not in answer.reason
        await made.close()


async def test_mail_without_a_server_waits() -> None:
    made = Outbound(Settings())
    answer = await made.mail("l", "me@c.test", "S", "T", "i")
    assert answer.outcome == "later"
    assert "JETSCAN_SMTP_URL" in answer.reason
    await made.close()
