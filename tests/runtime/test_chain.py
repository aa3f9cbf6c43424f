"""A chain: depth first, deterministic, and a batch that raised leaves no trace."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest

from runtime import Drop, Retry, function
from runtime.chain import Chain
from runtime.contract import Declaration
from runtime.frames import decode, encode
from runtime.subjects import partition_of
from runtime.testing import Harness


def adding(fail: Any = None) -> Declaration:
    @function(
        reads="ticks.trades",
        writes="alerts",
        state={"volume": "f8", "seen.*": "u1", "note": "text"},
    )
    def adder(trades, state, clock):  # type: ignore[no-untyped-def]
        np.add.at(state["volume"], trades["row"], trades["size"])
        state["seen.x"][trades["row"]] = 1
        state["note"] = str(clock)
        if fail is not None:
            fail(trades)
        return trades[trades["size"] > 50]

    return adder


def trades(price: float = 10.0, size: float = 60.0, symbol: str = "A") -> dict[str, list[Any]]:
    return {"symbol": [symbol], "ts_ns": [1], "price": [price], "size": [size]}


def test_events_picked_from_the_input_are_the_output() -> None:
    out = Harness(adding()).send(
        "ticks.trades", symbol=["A", "B"], ts_ns=[1, 2], price=[1.0, 2.0], size=[60.0, 5.0]
    )
    assert out["alerts"]["symbol"].tolist() == ["A"]


def test_columns_of_the_input_that_mean_something_else_in_the_output_are_left_out() -> None:
    out = Harness(adding()).send("ticks.trades", **trades(), id=[7])  # of an alert it is a text
    assert sorted(out["alerts"].columns) == ["price", "ts_ns"]


def test_what_each_function_took_is_told() -> None:
    harness = Harness(adding())
    harness.send("ticks.trades", symbol=["A", "B"], ts_ns=[1, 2], price=[1.0, 2.0], size=[1.0, 1.0])
    used = harness.chain.used()["adder"]
    assert (used["frames"], used["events"]) == (1, 2)
    assert 0 < used["took_s"] < 1
    assert used["state_bytes"] > 0


def test_outputs_are_handed_on_depth_first_before_the_next_function() -> None:
    said: list[str] = []

    @function(reads="ticks.trades", writes="bars.final")
    def first(trades):  # type: ignore[no-untyped-def]
        said.append("first")
        columns = dict.fromkeys(("open", "high", "low", "close", "volume", "vwap"), trades["price"])
        return {
            **columns,
            "row": trades["row"],
            "ts_ns": trades["ts_ns"],
            "count": [1],
            "revision": [0],
        }

    @function(reads=["bars.final", "ticks.trades"], writes="alerts")
    def second(bars, trades):  # type: ignore[no-untyped-def]
        said.append("bars" if trades is None else "trades")

    Harness(first, second).send("ticks.trades", **trades())
    assert said == ["first", "bars", "trades"]


@pytest.mark.parametrize("error", [ValueError("no"), Drop("refused"), KeyError("x")])
def test_a_batch_that_raised_leaves_no_trace_and_is_a_dead_letter(error: Exception) -> None:
    def fail(batch: Any) -> None:
        if batch["price"][0] == 666:
            raise error

    h = Harness(adding(fail), expect_dead=True)
    h.send("ticks.trades", **trades())
    assert h.state("adder")._changes is None, "what a handler that succeeded changed is not kept"
    before = {name: np.copy(values) for name, values in h.state("adder").columns().items()}
    assert h.send("ticks.trades", **trades(666.0)) == {}
    after = h.state("adder").columns()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    letter = msgpack.unpackb(h.dead[0].data)
    assert (letter["function"], letter["subject"], letter["position"]) == (
        "adder",
        "ticks.trades",
        2,
    )
    assert type(error).__name__ in letter["reason"]


def test_retry_holds_the_line_and_asks_for_its_delay() -> None:
    left = [2]

    def fail(_: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise Retry("later", 0.7)

    h = Harness(adding(fail))
    frame = h.frame("ticks.trades", **trades())
    from runtime.frames import encode

    step = h.chain.step(1, "ticks.trades.0", encode(frame, h.subjects.record("trades")))
    delays = []
    while True:
        try:
            delays.append(next(step))
        except StopIteration as end:
            outputs = end.value
            break
    assert delays == [0.7, 0.7]
    assert [one.subject for one in outputs] == ["alerts.0"]
    assert h.state("adder")["volume"].tolist() == [60.0]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (5, "expected a frame or columns"),
        ({"row": [0], "ts_ns": [1]}, "no column price"),
        ({"row": [0], "ts_ns": [1], "price": [1.0, 2.0]}, "differ in length"),
        ({"row": [9], "ts_ns": [1], "price": [1.0]}, "does not name rows"),
        ({"row": [0], "ts_ns": [1], "price": [float("nan")]}, "expected > 0.0"),
        ({"row": [0], "ts_ns": [1], "price": ["x"]}, "expected one-dimensional numbers"),
    ],
)
def test_nonsense_is_a_dead_letter_that_says_what_was_expected(answer: Any, says: str) -> None:
    @function(reads="ticks.trades", writes="alerts")
    def odd(trades):  # type: ignore[no-untyped-def]
        return answer

    h = Harness(odd, expect_dead=True)
    h.send("ticks.trades", **trades())
    assert says in msgpack.unpackb(h.dead[0].data)["reason"]


def test_a_bad_frame_is_set_aside_and_the_next_one_runs() -> None:
    h = Harness(adding(), expect_dead=True)
    h.publish("ticks.trades", b"garbage")
    assert "bad frame" in msgpack.unpackb(h.dead[0].data)["reason"]
    assert len(h.send("ticks.trades", **trades())["alerts"]) == 1


def test_the_clock_never_goes_back_and_comes_once_per_event() -> None:
    seen: list[int] = []
    ticking = function("ticking", writes="alerts")

    @ticking.on("ticks.clock")
    def tick(clock):  # type: ignore[no-untyped-def]
        seen.append(clock)

    h = Harness(ticking)
    h.send("ticks.clock", ts_ns=[10, 20, 15, 30])
    h.clock(25)
    assert seen == [10, 20, 30]


def test_a_redriven_letter_reaches_only_the_function_that_failed() -> None:
    is_mended = [False]

    @function(reads="ticks.trades", writes="bars.live", state={"n": "i8"})
    def good(trades, state):  # type: ignore[no-untyped-def]
        state["n"][trades["row"]] += 1

    @function(reads="ticks.trades", writes="alerts", state={"n": "i8"})
    def bad(trades, state):  # type: ignore[no-untyped-def]
        state["n"][trades["row"]] += 1
        if not is_mended[0]:
            raise ValueError("broken")
        return trades

    from runtime.loader import ChainPlan, hosted_of

    base = Harness(good)
    plan = ChainPlan(
        "pair", "MARKET", (hosted_of(good), hosted_of(bad)), ("ticks.trades",), base.plan.partitions
    )
    chain = Chain(plan, base.subjects, 0, tries_max=1)
    from runtime.frames import encode

    data = encode(base.frame("ticks.trades", **trades()), base.subjects.record("trades"))
    letter = chain.run(1, "ticks.trades.0", data)[0]
    assert letter.subject == "dead.bad.0"
    is_mended[0] = True
    outputs = chain.run(2, "redrive.MARKET.bad.0", letter.data)
    assert [one.subject for one in outputs] == ["alerts.0"]
    assert (chain.table("good")["n"][0], chain.table("bad")["n"][0]) == (1, 1)


def test_two_chains_over_the_same_input_say_the_same_bytes() -> None:
    one, two = Harness(adding()), Harness(adding())
    for h in (one, two):
        h.data = []  # type: ignore[attr-defined]
    draw = np.random.default_rng(1)
    for number in range(20):
        size = draw.integers(1, 100, 5).astype(float)
        frame = one.frame(
            "ticks.trades", symbol=list("ABCAB"), ts_ns=[number + 1] * 5, price=[1.0] * 5, size=size
        )
        from runtime.frames import encode

        data = encode(frame, one.subjects.record("trades"))
        first, second = one.publish("ticks.trades", data), two.publish("ticks.trades", data)
        assert [(o.subject, o.data, o.part) for o in first] == [
            (o.subject, o.data, o.part) for o in second
        ]
        if number == 10:
            two.crash_and_restore()


def members(of: Any) -> Declaration:
    """A function of a chain over all partitions that writes to the subjects of each."""

    @function(reads="toplists.partial", writes="toplists.changes")
    def toplists(partials):  # type: ignore[no-untyped-def]
        size = len(of.get("symbol", [0]))
        told = {"list": ["l"] * size, "ts_ns": [1] * size, "kind": [1] * size, "rank": [1] * size}
        return {**told, **of}

    return toplists


PARTIAL: dict[str, list[Any]] = {
    "symbol": ["A"], "list": ["l"], "version": [1], "configured": [0], "is_falling": [1], "ts_ns": [1],
    "value": [1.0], "price": [1.0], "volume": [1.0], "rank": [1],
}  # fmt: skip


def test_a_partition_is_told_of_its_own_symbols_alone() -> None:
    names = [f"S{k}" for k in range(40)] * 40
    h = Harness(members({"symbol": names}))
    record = h.subjects.record_of("toplists.partial")
    found: list[str] = []
    for output in h.publish(
        "toplists.partial", encode(h.frame("toplists.partial", **PARTIAL), record)
    ):
        frame = decode(output.data, h.subjects.record_of(output.base))
        found += frame["symbol"].tolist()
        own = output.subject.rpartition(".")[2]
        assert {str(partition_of(one, h.subjects.partitions)) for one in frame.symbols or []} == {
            own
        }
    assert sorted(found) == sorted(names)


def test_rows_for_partitions_that_name_no_symbol_are_refused() -> None:
    h = Harness(members({}), expect_dead=True)
    assert h.send("toplists.partial", **PARTIAL) == {}
    reason = msgpack.unpackb(h.dead[0].data)["reason"]
    assert "toplists.changes: expected `symbol` or `row`" in reason
