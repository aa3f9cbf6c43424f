"""Hostile, slow and silent clients, and the end: what they can do is end their own connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.gateway import hub, keeper
from runtime.gateway.access import Caller
from runtime.gateway.client import WAITING_MAX, Client, write_waiting
from runtime.gateway.fanout import Line
from runtime.gateway.keeper import Keeper
from runtime.gateway.socket import Conversation
from runtime.gateway.updates import JSON, MSGPACK
from tests.conftest import ROOT
from tests.gateway.deployment import running
from tests.gateway.test_socket import alert, asked, closed, connected, heard, told

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
KINDS = ["auth", "ping", "subscribe", "unsubscribe", "subscribe_toplist", "unsubscribe_toplist", "subscribe_bars",
         "unsubscribe_bars", "subscribe_metrics", "unsubscribe_metrics", "subscribe_functions", "unsubscribe_functions", "resume"]  # fmt: skip
FIELDS = ["token", "symbol", "symbols", "rules", "rule", "watchlists", "watchlist", "toplist_id", "names", "deltas", "bars", "after"]  # fmt: skip
NAMES = st.lists(st.sampled_from(["A", "gainers_5m", "price", "\ud800"]), max_size=3)
MESSAGES = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    st.sampled_from(KINDS) | VALUES,
    st.dictionaries(st.sampled_from(FIELDS), VALUES | NAMES | st.just("A"), max_size=5),
)


class Written:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.frames.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.frames.append(b"held back")

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_no_message_ends_a_conversation_or_goes_unanswered(tmp_path: Path) -> None:
    async with running(tmp_path) as made:
        answers = asyncio.get_running_loop()

        async def hear(said: str | bytes, codec: Any, is_known: bool) -> list[bytes]:
            written = Written()
            client = Client(Line(written), lambda _: asyncio.sleep(0), codec=codec)
            if is_known:
                made.gateway.following.let_in(client, Caller("ann", frozenset({"admin"})))
            await Conversation(made.gateway.following, client).hear(said)
            made.gateway.following.leave(client)
            return written.frames

        def heard_in_loop(*one: Any) -> list[bytes]:
            return asyncio.run_coroutine_threadsafe(hear(*one), answers).result(10)

        @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.one_of(MESSAGES, VALUES), st.binary(max_size=60), st.booleans(), st.booleans())
        def fuzz(message: Any, raw: bytes, is_packed: bool, is_known: bool) -> None:
            codec = MSGPACK if is_packed else JSON
            assert heard_in_loop(json.dumps(message), codec, is_known)
            assert heard_in_loop(raw, codec, is_known)
            with contextlib.suppress(ValueError, OverflowError):
                assert heard_in_loop(msgpack.packb(message), codec, is_known)

        await asyncio.to_thread(fuzz)


@pytest.mark.parametrize(
    "told",
    [
        b"\x81\x85\0\0\0\0\xff\xff\xff\xff\xff",  # no UTF-8
        b"\x83\x80\0\0\0\0",  # an opcode that is none
        b"\xf1\x80\0\0\0\0",  # reserved bits
        b"\x81\x05hello",  # without a mask
        b"\x80\x80\0\0\0\0",  # the rest of nothing
        b"\x89\xfe\x01\x00\0\0\0\0" + bytes(256),  # a ping longer than a ping may be
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0" + bytes(100),
        b"\x88\x81\0\0\0\0\x01",  # a close with half a code
        os.urandom(2_000),
    ],
    ids=["text", "opcode", "reserved", "mask", "rest", "ping", "length", "close", "random"],
)
async def test_frames_that_are_none_end_their_connection_only(tmp_path: Path, told: bytes) -> None:
    async with running(tmp_path) as made, connected(made) as other:
        host, port = made.http.base_url.host, made.http.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        writer.write(told)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
        await asked(other, type="subscribe", symbols=["A"])
        while made.gateway.following.count > 1:
            await asyncio.sleep(0.01)


async def test_one_that_reads_nothing_slows_nobody_is_cut_off_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "STUCK_S", 0.5)
    async with running(tmp_path) as made, connected(made) as other:
        host, port = made.http.base_url.host, made.http.base_url.port
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((host, port))
        stuck.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        while len(made.gateway.hub.clients) < 2:
            await asyncio.sleep(0.01)
        number = 0
        async with asyncio.timeout(20):
            while len(made.gateway.hub.clients) > 1:
                number += 1
                await alert(made, number, "A" * 60, "r" * 200)
                assert (await heard(other, "alert"))["data"]["seq"] == number
        assert made.gateway.hub._behind == set()
        stuck.close()


async def test_one_that_is_not_heard_of_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path) as made, connected(made) as client:
        await told(client)
        looking = Keeper(made.gateway.following)
        await looking.look(time.monotonic() + keeper.PING_S + 1)  # answered by a pong
        before = time.monotonic()
        (one,) = made.gateway.hub.clients
        while one.line.heard_at < before:
            await asyncio.sleep(0.01)
        await looking.look(time.monotonic() + keeper.STALE_S + 1)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(client.recv(), 5)


async def test_a_message_that_is_too_long_ends_its_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as made, connected(made) as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            await client.send("x" * (65 << 10))
        assert (await closed(client))[0] == 1009


async def test_a_connection_without_a_transport_is_written_by_its_own_task() -> None:
    said: list[Any] = []
    is_open = asyncio.Event()

    async def send(payload: str | bytes) -> None:
        await is_open.wait()
        said.append(payload)

    async def close(code: int, reason: str) -> None:
        said.append((code, reason))

    client = Client(None, send)
    writing = asyncio.create_task(write_waiting(client, close))
    client.tell({"type": "pong", "seq": 1})
    assert not client.is_free
    await asyncio.sleep(0)
    is_open.set()
    while client.waiting:
        await asyncio.sleep(0)
    client.close(1012, "restarting")
    await asyncio.wait_for(writing, 5)
    assert said == ['{"type":"pong","seq":1}', (1012, "restarting")]
    stalled = Client(None, send)
    for _ in range(WAITING_MAX + 1):
        stalled.tell({"type": "pong", "seq": 1})
    assert stalled.closed == (1008, "too many messages wait")


# -- the end


@pytest.mark.parametrize("is_stuck", [False, True], ids=["clients that read", "one that reads nothing"])  # fmt: skip
async def test_sigterm_tells_every_client_and_ends_the_process_in_time(
    nats: Any, is_stuck: bool
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JETSCAN_NATS_URL": nats.url, "JETSCAN_PORT": str(port)}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runtime.cli", "gateway", cwd=ROOT, env=environment
    )
    stuck = socket.socket()
    try:
        clients = [await _patiently(f"ws://127.0.0.1:{port}/ws") for _ in range(20)]
        if is_stuck:
            await _stall(stuck, port)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        codes = await asyncio.gather(*(closed(one) for one in clients))
        assert set(codes) == {(1012, "restarting")}
        assert time.monotonic() - begun < 2
        assert await asyncio.wait_for(process.wait(), 8) == 0
    finally:
        stuck.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _patiently(url: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError, websockets.InvalidStatus):
                client = await websockets.connect(url)
                await asked(client, type="subscribe", symbols=["none"])
                return client
            await asyncio.sleep(0.1)


async def _stall(stuck: socket.socket, port: int) -> None:
    """A client that asks on and on and reads no answer."""
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", port))
    stuck.sendall(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    text = json.dumps({"type": "subscribe", "symbols": [f"S{k:04}" for k in range(1_900)]}).encode()
    frame = b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text
    for _ in range(60):  # each is answered with as much: more than the buffers hold
        await asyncio.to_thread(stuck.sendall, frame)
