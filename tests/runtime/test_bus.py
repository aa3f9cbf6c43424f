"""The door to NATS, on a real server that is killed and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.bus import (
    GROUP,
    PULL_MESSAGES,
    ApiError,
    Bus,
    BusError,
    Closed,
    LostPlace,
    Message,
    NobodyThere,
    Pull,
    Refused,
    Silence,
    Start,
)
from runtime.embedded import EmbeddedError, EmbeddedNats
from runtime.provision import _differences, provision
from runtime.subjects import Subjects, parse_subjects
from tests.conftest import ROOT, Nats

TEXT = (ROOT / "subjects.yaml").read_text(encoding="utf-8")


async def restarted(nats: Nats) -> EmbeddedNats:
    """Kill the server with SIGKILL and start it again on its port."""
    port = int(nats.url.rpartition(":")[2])
    os.kill(nats.server.pid, signal.SIGKILL)
    await nats.server.stop()
    return await EmbeddedNats.start(nats.directory / "data", port)


async def test_a_write_waits_for_the_server_and_is_stored_once(nats: Nats) -> None:
    for number in range(20):
        await nats.bus.put("ticks.trades.1", b"x", message_id=str(number))
    server = await restarted(nats)
    assert await nats.bus.put("ticks.trades.1", b"x", message_id="20") == 21
    assert await nats.bus.put("ticks.trades.1", b"x", message_id="5") == 6
    assert (await nats.bus.stream_state("MARKET")).messages == 21
    await server.stop()


async def test_a_fenced_write_is_refused_when_somebody_was_faster(nats: Nats) -> None:
    first = await nats.bus.put_expecting("alerts.1", b"a", 0)
    with pytest.raises(Refused):
        await nats.bus.put_expecting("alerts.1", b"b", 0)
    assert await nats.bus.put_expecting("alerts.1", b"b", first) == first + 1
    last = await nats.bus.last("ALERTS", "alerts.1")
    assert last is not None
    assert (last.data, last.sequence) == (b"b", first + 1)


async def test_a_consumer_taken_over_cuts_its_old_owner_off(nats: Nats) -> None:
    for number in range(30):
        await nats.bus.put("ticks.trades.1", b"%d" % number)
    await nats.bus.ensure_consumer("MARKET", "c", ["ticks.trades.1"], pinned=True)
    old = await nats.bus.take_consumer("MARKET", "c", ["ticks.trades.1"], 1)
    assert (await old.next()).data == b"0"
    new = await nats.bus.take_consumer("MARKET", "c", ["ticks.trades.1"], 10)
    assert [(await new.next()).data for _ in range(21)] == [b"%d" % n for n in range(9, 30)]
    await nats.bus.put("ticks.trades.1", b"more")
    assert (await new.next()).data == b"more"
    with pytest.raises(LostPlace):
        while True:
            await asyncio.wait_for(old.next(), 5)
    await old.stop()
    await new.stop()


@pytest.mark.parametrize("moved_to", [1, 9], ids=["back", "on"])
async def test_a_consumer_that_another_moved_before_our_first_message_is_opened_again(
    nats: Nats, moved_to: int
) -> None:
    for number in range(30):
        await nats.bus.put(f"ticks.trades.{number % 3}", b"%d" % number)
    wanted = ["ticks.trades.1", "ticks.trades.2"]
    await nats.bus.ensure_consumer("MARKET", "c", wanted, pinned=True)
    await nats.bus.api("CONSUMER.RESET.MARKET.c", {"seq": moved_to})
    pull = Pull(nats.bus, "MARKET", "c", in_order=True, start=Start(wanted, 5))
    await pull.start()
    with pytest.raises(LostPlace, match="5 was due"):
        await asyncio.wait_for(pull.next(), 5)
    await pull.stop()
    pull = await nats.bus.take_consumer("MARKET", "c", wanted, 5)
    wanted_data = [b"%d" % n for n in range(4, 30) if n % 3]
    assert [(await pull.next()).data for _ in wanted_data] == wanted_data
    await pull.stop()


async def test_what_a_dead_owners_request_took_is_not_skipped(nats: Nats) -> None:
    dead = await Bus.connect(nats.url, "dead")
    wanted = ["ticks.trades.1"]
    await nats.bus.ensure_consumer("MARKET", "c", wanted, pinned=True)
    await dead.take_consumer("MARKET", "c", wanted, 1)
    pull = await nats.bus.take_consumer("MARKET", "c", wanted, 1)
    for number in range(PULL_MESSAGES + 9):  # the request that waited longer gets the first of them
        await nats.bus.put("ticks.trades.1", b"%d" % number)
    await dead.close()
    await nats.bus.api("CONSUMER.UNPIN.MARKET.c", {"group": GROUP})  # as the server does in time
    await nats.bus.put("ticks.trades.1", b"more")
    with pytest.raises(LostPlace, match="1 was due"):
        await asyncio.wait_for(pull.next(), 15)
    await pull.stop()


async def test_what_is_gone_before_the_first_message_is_not_missed(nats: Nats) -> None:
    for number in range(10):
        await nats.bus.put("ticks.trades.1", b"%d" % number)
    await nats.bus.ensure_consumer("MARKET", "c", ["ticks.trades.1"], pinned=True)
    await nats.bus.api("STREAM.PURGE.MARKET", {"seq": 6})
    pull = await nats.bus.take_consumer("MARKET", "c", ["ticks.trades.1"], 2)
    assert (await asyncio.wait_for(pull.next(), 5)).data == b"5"
    await pull.stop()


async def test_a_reader_whose_connection_was_made_again_opens_again(nats: Nats) -> None:
    await nats.bus.put("ticks.trades.1", b"0")
    await nats.bus.ensure_consumer("MARKET", "c", ["ticks.trades.1"], pinned=True)
    pull = await nats.bus.take_consumer("MARKET", "c", ["ticks.trades.1"], 1)
    assert (await pull.next()).data == b"0"
    nats.bus.reconnects += 1
    with pytest.raises(LostPlace, match="made again"):
        await asyncio.wait_for(pull.next(), 5)
    await pull.stop()


async def test_a_pull_whose_queue_was_taken_at_once_goes_on_at_once(nats: Nats) -> None:
    for number in range(PULL_MESSAGES):
        await nats.bus.put("ticks.trades.1", b"%d" % number)
    await nats.bus.ensure_consumer("MARKET", "c", ["ticks.trades.1"], pinned=True)
    pull = await nats.bus.take_consumer("MARKET", "c", ["ticks.trades.1"], 1)
    async with asyncio.timeout(10):
        while pull.queued < PULL_MESSAGES:
            await asyncio.sleep(0.01)
    assert [(await pull.next()).data] == [b"0"]
    assert len(pull.take_while(lambda _: True)) == PULL_MESSAGES - 1
    assert not await pull.ready(0.01)  # as its host looks around
    await nats.bus.put("ticks.trades.1", b"more")
    assert await pull.ready(0.5)
    assert (await pull.next()).data == b"more"
    await pull.stop()


async def test_a_reader_gets_everything_once_in_order_across_a_restart(nats: Nats) -> None:
    found: list[bytes] = []

    async def read() -> None:
        async for message in nats.bus.read("MARKET", ["ticks.trades.*"], "first"):
            found.append(message.data)
            if len(found) == 400:
                return

    reading = asyncio.create_task(read())
    for number in range(200):
        await nats.bus.put(f"ticks.trades.{number % 3}", b"%d" % number)
    server = await restarted(nats)
    for number in range(200, 400):
        await nats.bus.put(f"ticks.trades.{number % 3}", b"%d" % number)
    await asyncio.wait_for(reading, 20)
    assert found == [b"%d" % number for number in range(400)]
    await server.stop()


@pytest.mark.parametrize(
    ("gone", "expected"), [((), "01234"), ((5,), "0123"), ((2, 4, 5), "02"), ((1, 2, 3, 4, 5), "")]
)
async def test_a_reader_to_an_end_does_not_wait_for_what_was_deleted(
    nats: Nats, gone: tuple[int, ...], expected: str
) -> None:
    for number in range(5):
        await nats.bus.put("ticks.trades.1", b"%d" % number)
    for sequence in gone:
        await nats.bus.api("STREAM.MSG.DELETE.MARKET", {"seq": sequence})
    async with asyncio.timeout(10):
        messages = nats.bus.read_to("MARKET", ["ticks.trades.1"], 1, 5)
        assert b"".join([one.data async for one in messages]).decode() == expected


async def test_a_reader_to_an_end_does_not_go_beyond_it(nats: Nats) -> None:
    for number in range(5):
        await nats.bus.put(f"ticks.trades.{number % 2}", b"%d" % number)
    messages = nats.bus.read_to("MARKET", ["ticks.trades.1"], 1, 3)
    async with asyncio.timeout(10):
        assert [one.data async for one in messages] == [b"1"]


async def test_keys_are_created_updated_and_removed_by_revision(nats: Nats) -> None:
    kv = nats.bus.kv("owners")
    changed: list[str] = []
    listener = await kv.hints(changed.append)
    revision = await kv.create("a.1", b"x")
    with pytest.raises(Refused):
        await kv.create("a.1", b"y")
    with pytest.raises(Refused):
        await kv.update("a.1", b"y", revision + 5)
    assert await kv.update("a.1", b"y", revision) > revision
    await kv.put("b.1", b"z")
    assert {key: entry.value for key, entry in (await kv.all()).items()} == {
        "a.1": b"y",
        "b.1": b"z",
    }
    assert list(await kv.all("a")) == ["a.1"]
    await kv.delete("a.1")
    assert await kv.get("a.1") is None
    await kv.create("a.1", b"again")
    await kv.purge("a.1")
    assert await kv.revision("a.1") == 0
    assert set(changed) == {"a.1", "b.1"}
    await listener.stop()


async def test_a_full_stream_makes_its_writer_wait_and_loses_nothing(nats: Nats) -> None:
    small = {
        "name": "SMALL",
        "subjects": ["small.>"],
        "max_bytes": 2000,
        "discard": "new",
        "storage": "file",
    }
    await nats.bus.api("STREAM.CREATE.SMALL", small)
    await nats.bus.put("small.x", b"x" * 1500)
    waiting = asyncio.create_task(nats.bus.put("small.x", b"y" * 1500))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await nats.bus.api("STREAM.UPDATE.SMALL", {**small, "max_bytes": 10_000})
    assert await asyncio.wait_for(waiting, 5) == 2


async def test_what_cannot_be_done_says_why(nats: Nats) -> None:
    with pytest.raises(NobodyThere, match=r"nobody answers on no\.one"):
        await nats.bus.request("no.one")
    with pytest.raises(BusError, match="the server takes"):
        await nats.bus.publish("x", b"x" * (9 << 20))
    with pytest.raises(ApiError, match="stream not found"):
        await nats.bus.stream_state("NONE")
    with pytest.raises(Closed, match="does not answer within"):
        await Bus.connect("nats://127.0.0.1:1", "x", connect_s=0.2)


async def test_provision_shows_first_applies_what_is_safe_and_never_shrinks(
    nats: Nats, subjects: Subjects
) -> None:
    assert (await provision(nats.bus, subjects)).changes == ()
    larger = parse_subjects(TEXT.replace("max_age: 24h", "max_age: 48h", 1))
    shown = await provision(nats.bus, larger, dry_run=True)
    assert [str(change) for change in shown.changes] == [
        "~ MARKET.max_age: 86400000000000 -> 172800000000000"
    ]
    assert len((await provision(nats.bus, larger)).changes) == 1
    assert (await provision(nats.bus, larger)).changes == ()
    back = await provision(nats.bus, subjects)
    assert [change.key for change in back.refused] == ["max_age"]
    assert (await provision(nats.bus, larger)).changes == ()
    assert (await provision(nats.bus, subjects, allow_shrink=True)).refused == []
    assert (await provision(nats.bus, subjects)).changes == ()


@pytest.mark.parametrize(("replicas", "told"), [(None, []), (1, ["num_replicas"]), (3, [])])
def test_replicas_of_a_cluster_stay_unless_fewer_are_asked_for(
    replicas: int | None, told: list[str]
) -> None:
    wanted = {"num_replicas": replicas or 1}
    found = _differences("MARKET", {"num_replicas": 3}, wanted, False, replicas)
    assert [change.key for change in found] == told
    assert all(change.refused for change in found)


async def test_one_data_directory_has_one_server_and_other_directories_have_theirs(
    tmp_path: Path,
) -> None:
    one = await EmbeddedNats.start(tmp_path / "one")
    with pytest.raises(EmbeddedError, match="another instance runs on"):
        await EmbeddedNats.start(tmp_path / "one")
    two = await EmbeddedNats.start(tmp_path / "two")
    assert one.url != two.url
    with pytest.raises(EmbeddedError, match="is in use"):
        await EmbeddedNats.start(tmp_path / "three", int(one.url.rpartition(":")[2]))
    await one.stop()
    await two.stop()
    again = await EmbeddedNats.start(tmp_path / "one")
    await again.stop()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        pytest.raises(EmbeddedError, match="cannot be written"),
        contextlib.suppress(FileNotFoundError),
    ):
        await EmbeddedNats.start(tmp_path / "file" / "x")


@pytest.mark.parametrize(("blocked_s", "is_ours"), [(0.0, False), (0.8, True)])
async def test_a_silence_says_whether_this_process_was_busy_itself(
    nats: Nats, blocked_s: float, is_ours: bool
) -> None:
    def mute(_: Message) -> None:
        time.sleep(blocked_s)  # as a function that computes does

    listener = await nats.bus.listen("mute", mute)
    with pytest.raises(Silence) as silence:
        await nats.bus.request("mute", b"", 0.3)
    assert ("busy itself" in str(silence.value)) == is_ours
    await listener.stop()


async def test_a_task_that_is_cancelled_as_an_answer_comes_ends(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = nats.bus._connection.request

    async def losing(*args: Any, **more: Any) -> Any:  # as `asyncio.wait_for` of Python 3.11 may
        answer = await ask(*args, **more)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return answer

    async def ask_for_ever() -> None:
        while True:
            await nats.bus.stream_state("MARKET")

    with monkeypatch.context() as patched:
        patched.setattr(nats.bus._connection, "request", losing)
        asking = asyncio.create_task(ask_for_ever())
        done, _ = await asyncio.wait([asking], timeout=5)
    asking.cancel()
    assert done
    assert asking.cancelled()
