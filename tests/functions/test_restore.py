"""The market chain stopped, saved and loaded anywhere says what it says when it never stops, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest

from runtime import Retry, function
from runtime.chain import Chain
from runtime.frames import Frame, encode_parts, texts
from runtime.loader import ChainPlan, Hosted
from runtime.snapshots import blobs_of
from tests.functions.test_metrics import (
    DAY_NS,
    MARKET,
    SECOND_NS,
    SUBJECTS,
    SYMBOLS,
    Replay,
    history,
    ns,
    random_prints,
)

Message = tuple[str, bytes]
Said = list[tuple[str, bytes]]

RULES = [
    {"id": "up", "name": "Up", "cooldown": 30, "conditions": [{"metric": "change_pct_1m", "operator": ">", "value": 0.1}]},
    {"id": "level", "name": "Level", "cooldown": 0, "conditions": [{"metric": "volume_5m", "operator": ">", "value": 500}]},
    {"id": "later", "name": "Later", "cooldown": 5, "conditions": [{"metric": "rsi_14", "operator": ">", "value": 50}]},
]  # fmt: skip
FACTS = {"AAA": {"float": 5e6, "split": 0.5}, "BBB": {"marketcap": 1e9, "prev_close": 31.0}}


class Recorder(Replay):
    """Keeps what ingest would publish instead of running it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []

    def run(self, base: str, frame: Frame) -> list[Any]:
        for data in encode_parts(frame, SUBJECTS.record_of(base)):
            self.messages.append((SUBJECTS.wire(base, 0), data))
        return []

    def rules(self, version: int, rules: list[dict[str, Any]]) -> None:
        body = texts([json.dumps({"rules": rules})])
        self.run("control", Frame({"version": np.array([version]), "body": body}))

    def status(self, ts_ns: int, symbol: str, code: int) -> None:
        columns = {"ts_ns": np.array([ts_ns]), "code": np.array([code], dtype=np.uint8)}
        self.run("ticks.status", Frame(columns, SYMBOLS, np.array([SYMBOLS.index(symbol)])))


def a_market(seed: int, seconds: int = 1200) -> list[Message]:
    """History, the end of a day with a halt and other rules, a night, the morning after; asked at the end."""
    made = Recorder()
    evening, morning = ns(2026, 3, 5, 15, 50), ns(2026, 3, 6, 9, 25)
    made.days(history(seed, evening // DAY_NS, 60))
    made.rules(1, RULES[:2])
    for number, begins in enumerate((evening, morning)):
        prints = random_prints(seed + number, begins, seconds, 5.0)
        cuts = [0, len(prints) // 3, len(prints) // 2, len(prints)]
        for turn in range(3):
            made.send(prints[cuts[turn] : cuts[turn + 1]], width=1 + 4 * turn)
            if turn < 2:
                made.status(made.clock_ns, "AAA", 1 - turn)
        made.facts(FACTS if not number else {"AAA": {"news_ns": float(morning)}})
        made.rules(2 + number, RULES[number:])
    made.ask(made.clock_ns + SECOND_NS)
    return made.messages


def said_by(chain: Chain, position: int, message: Message) -> Said:
    outputs = chain.run(position, *message)
    assert not any(one.base == "dead" for one in outputs), outputs[-1].data
    return [(one.subject, one.data) for one in outputs]


def never_stopped(plan: ChainPlan, messages: list[Message]) -> tuple[list[Said], Chain]:
    chain = Chain(plan, SUBJECTS, 0, tries_max=2)
    return [said_by(chain, number, one) for number, one in enumerate(messages, 1)], chain


class Owners:
    """One owner after the other: each saves several times, as `PartitionHost` does, then is lost."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.meta: Mapping[str, Any] | None = None
        self.epoch = 0
        self.saves = 0

    def take_over(self) -> Chain:
        self.epoch += 1
        chain = Chain(MARKET, SUBJECTS, 0, tries_max=2)
        if self.meta is not None:
            meta = msgpack.unpackb(msgpack.packb(self.meta), strict_map_key=False)
            chain.restore(meta, self.blobs)
        return chain

    @property
    def cursor(self) -> int:
        """The position that was saved."""
        return 0 if self.meta is None else int(self.meta["cursor"])

    def save(self, chain: Chain, position: int = 0) -> int:
        """The bytes it took; every blob that is no longer referred to is gone."""
        self.saves += 1
        is_own = self.meta is not None and self.meta["epoch"] == self.epoch
        snapshot = chain.snapshot(f"{self.epoch}-{self.saves}", self.meta if is_own else None)
        self.meta = {**snapshot.meta, "epoch": self.epoch, "cursor": position}
        kept = {**self.blobs, snapshot.blob_id: snapshot.blob}
        self.blobs = {blob: kept[blob] for blob in blobs_of(self.meta)}
        return len(snapshot.blob)


@pytest.mark.parametrize("seed", range(3))
def test_who_stops_and_is_loaded_again_says_what_who_never_stops_says(seed: int) -> None:
    messages = a_market(seed)
    expected, calm = never_stopped(MARKET, messages)
    draw = np.random.default_rng(seed)
    owners, crashes = Owners(), 0
    chain = owners.take_over()
    position = 0
    while position < len(messages):
        position += 1
        found = said_by(chain, position, messages[position - 1])
        assert found == expected[position - 1], f"at {position}"
        what = draw.random()
        if what < 0.1:
            owners.save(chain, position)
        elif what < 0.11:
            chain.snapshot("lost")  # a save that was not committed
        if 0.08 < what < 0.1 or (0.11 < what < 0.12 and crashes < 5):
            crashes += 1
            chain, position = owners.take_over(), owners.cursor
    assert owners.epoch > 5
    same_state(chain, calm)
    subjects = {subject.partition(".")[0] for said in expected for subject, _ in said}
    assert subjects == {"bars", "indicators", "alerts", "toplists", "metrics"}
    assert sum(len(data) for _, data in expected[-1]) > 5_000, "the metrics were not answered"


def same_state(one: Chain, other: Chain) -> None:
    for hosted in MARKET.functions:
        mine, theirs = one.table(hosted.name).columns(), other.table(hosted.name).columns()
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            wanted = theirs[name]
            if isinstance(values, str) or isinstance(wanted, str):
                assert values == wanted, name
            else:
                assert values.tobytes() == wanted.tobytes(), f"{hosted.name}/{name}"


def many(symbols: int, minute: int, seed: int = 0) -> list[Message]:
    """A minute in which each of so many symbols trades twice, and its clock."""
    draw = np.random.default_rng([seed, minute])
    begins = ns(2026, 3, 6, 10, 0) + minute * 60 * SECOND_NS
    row = np.tile(np.arange(symbols), 2)
    columns = {
        "ts_ns": begins + np.arange(2 * symbols) * 1_000_000,
        "price": np.round(draw.uniform(10.0, 11.0, 2 * symbols), 2),
        "size": draw.integers(1, 300, 2 * symbols).astype(float),
    }
    made = Recorder()
    made.run("ticks.trades", Frame(columns, [f"S{k}" for k in range(symbols)], row))
    made.clock(begins + 60 * SECOND_NS)
    return made.messages


def test_a_snapshot_refers_to_those_before_it_while_symbols_are_added() -> None:
    owners, chain, position, most = Owners(), Chain(MARKET, SUBJECTS, 0), 0, 0
    owners.epoch = 1
    for minute, symbols in enumerate((3, 3, 40, 64, 65, 65, 130, 131, 500, 500)):
        for message in many(symbols, minute):
            position += 1
            said_by(chain, position, message)
        owners.save(chain)
        loaded = Chain(MARKET, SUBJECTS, 0)
        assert owners.meta is not None
        loaded.restore(owners.meta, owners.blobs)
        same_state(loaded, chain)
        most = max(most, len(owners.blobs))
    assert most > 1


def test_a_save_after_a_minute_writes_a_small_part_of_the_state() -> None:
    owners, chain = Owners(), Chain(MARKET, SUBJECTS, 0)
    owners.epoch = 1
    position = 0
    for message in many(625, 0):
        position += 1
        said_by(chain, position, message)
    state, draw = chain.table("scanner"), np.random.default_rng(1)
    for name in ("profile", "change_ns", "c1d_close", "c1d_volume", "c4h_close"):  # a full life
        state.put(name, slice(None), draw.integers(1, 1 << 20, state[name].shape))
    whole = owners.save(chain)
    assert whole > 25 << 20
    for minute in range(1, 4):
        for message in many(625, minute):
            position += 1
            said_by(chain, position, message)
        assert owners.save(chain) < whole / 8
    assert len(msgpack.packb(owners.meta)) < 128 << 10


# -- handlers that raise


class Tripwire:
    """The state as a handler sees it, until its luck runs out at some use of it."""

    def __init__(self, state: Any, uses: int) -> None:
        self._state = state
        self._left = uses

    def _used(self) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Retry("a bug in the middle", 0.0)
        return self._state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._used(), name)

    def __getitem__(self, name: str) -> Any:
        return self._used()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._used()[name] = value

    def __delitem__(self, name: str) -> None:
        del self._used()[name]


def failing_first(hosted: Hosted, seed: int) -> Hosted:
    """The function as it is, but each call fails once somewhere before it succeeds."""
    real = hosted.declaration
    made = function(real.name, writes=real.writes, state=real.state)
    draw = np.random.default_rng(seed)
    failed = [False]

    def handler_of(handler: Callable[..., Any]) -> Callable[..., Any]:
        def call(state: Any, **given: Any) -> Any:
            failed[0] = not failed[0]
            if not failed[0]:
                return handler(state=state, **given)
            handler(state=Tripwire(state, int(draw.integers(0, 400))), **given)
            raise Retry("a bug at the end", 0.0)

        return call

    for binding in real.bindings:
        made.on(binding.subject)(_with_signature(handler_of(binding.handler), binding.handler))
    return replace(hosted, declaration=made)


def _with_signature(call: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    call.__wrapped__ = real  # type: ignore[attr-defined]
    return call


def test_handlers_that_fail_anywhere_and_are_tried_again_leave_no_trace() -> None:
    messages = a_market(5, seconds=600)
    expected, calm = never_stopped(MARKET, messages)
    functions = tuple(failing_first(one, k) for k, one in enumerate(MARKET.functions))
    found, failing = never_stopped(replace(MARKET, functions=functions), messages)
    for number, (mine, wanted) in enumerate(zip(found, expected, strict=True)):
        assert mine == wanted, f"at {number}"
    same_state(failing, calm)


def test_a_handler_that_is_given_up_leaves_the_state_as_it_was() -> None:
    _, chain = never_stopped(MARKET, a_market(6, seconds=300))
    table = chain.table("scanner")
    assert table.rows == len(SYMBOLS)
    before = {name: np.copy(values) for name, values in table.columns().items()}
    draw = np.random.default_rng(6)
    scanner = next(one for one in MARKET.functions if one.name == "scanner")
    handlers = {one.subject: one.handler for one in scanner.declaration.bindings}
    later = chain.clock_ns + 16 * 3600 * SECOND_NS  # a new day: most columns change
    undone: set[str] = set()
    uses = 1 << 40  # the first handler ends, the others fail somewhere on the way
    for turn in range(20):
        table.mark(None)
        tripwire = Tripwire(table, uses if not turn else int(draw.integers(0, uses)))
        with pytest.raises(Retry):
            handlers["ticks.clock"](later, tripwire, scanner.settings)
            raise Retry("at the end", 0.0)
        uses = uses if turn else uses - tripwire._left
        undone |= changed(before, table.columns())
        table.undo()
        assert changed(before, table.columns()) == set()
    assert undone >= {"closed_to", "clean_to", "closes", "ring_volume", "day", "volume_market"}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The columns that differ, by byte."""
    assert after.keys() == before.keys()
    return {
        name
        for name, values in before.items()
        if np.asarray(after[name]).tobytes() != values.tobytes()
    }
