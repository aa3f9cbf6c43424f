"""The harness that functions are tested with: it finds what it is there to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functions.market.running import raise_high
from runtime import function
from runtime.contract import Declaration
from runtime.testing import (
    Harness,
    LiteralError,
    SinkHarness,
    any_crash,
    any_cut,
    columns_of,
    golden,
    ns,
    said_twice,
)

PRINTS = """
    time          symbol  price  size
    09:30:00      A       10.0   100
    09:30:00.5    B       50.0   200
    09:30:01      A       11.0   100
    09:30:02      A       12.0   100
    09:30:03      B       49.0   100
"""
EVENTS: list[tuple[str, Any]] = [("ticks.trades", PRINTS), ("ticks.trades", PRINTS)]


def highs() -> Declaration:
    """A new high of the symbol."""

    @function(reads="ticks.trades", writes="alerts", state={"high": "f8"})
    def higher(trades: Any, state: Any) -> Any:
        met = raise_high(state["high"], trades["row"], trades["price"])
        return trades[(met > 0) & (trades["price"] > met)]

    return higher


def highs_of_frames() -> Declaration:
    """The same, except that it sees only the last print of a symbol in a frame."""

    @function(reads="ticks.trades", writes="alerts", state={"high": "f8"})
    def higher(trades: Any, state: Any) -> Any:
        met = state["high"][trades["row"]]
        np.maximum.at(state["high"], trades["row"], trades["price"])
        return trades[(met > 0) & (trades["price"] > met)]

    return higher


def remembering() -> Declaration:
    """One that remembers outside of its state."""
    seen: list[float] = []

    @function(reads="ticks.trades", writes="alerts")
    def higher(trades: Any) -> Any:
        is_new = np.array([price not in seen for price in trades["price"]])
        seen.extend(trades["price"].tolist())
        return trades[is_new]

    return higher


def test_a_table_of_text_is_columns_with_times_in_new_york() -> None:
    columns = columns_of('time symbol price reason\n09:30:00.25 A 10 "no news"\n16:00:00 B 1e3 x')
    assert columns["ts_ns"] == [1_767_623_400_250_000_000, 1_767_646_800_000_000_000]
    assert columns["price"] == [10, 1000.0]
    assert columns["reason"] == ["no news", "x"]
    assert ns("09:30:00", "2026-07-06") - ns("09:30:00", "2026-07-05") == 86_400 * 10**9


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("time symbol", "a line for each event"),
        ("time symbol\n09:30:00", "event 1: expected 2 cells"),
        ("time symbol\n9:30 A", "expected a time such as 09:30:00"),
        ("time symbol\n29:30:00 A", "29:30:00: hour must be"),
        ("time ts_ns\n09:30:00 1", "each column once"),
    ],
)
def test_a_table_that_cannot_be_read_names_its_line(table: str, says: str) -> None:
    with pytest.raises(LiteralError, match=says):
        columns_of(table)


def test_a_column_that_the_subject_does_not_have_is_named_with_those_it_has() -> None:
    with pytest.raises(AssertionError, match="no column prize; it has symbol, ts_ns, price, size"):
        Harness(highs()).send("ticks.trades", symbol=["A"], prize=[1.0])


def test_a_function_that_keeps_its_promises_passes_every_check() -> None:
    any_cut(highs(), events=EVENTS)
    any_crash(highs(), events=EVENTS)
    said_twice(highs(), events=EVENTS)
    out = Harness(highs()).send("ticks.trades", PRINTS)
    assert out["alerts"]["price"].tolist() == [11.0, 12.0]


def test_an_answer_that_depends_on_the_cut_is_found_with_the_event() -> None:
    with pytest.raises(AssertionError, match=r"frames of 1 differ on alerts, 0 events against 2"):
        any_cut(highs_of_frames(), events=EVENTS)
    any_crash(highs_of_frames(), events=EVENTS)


def test_memory_outside_of_state_is_found_by_a_crash_and_by_a_second_run() -> None:
    harness = Harness(remembering())
    harness.send("ticks.trades", PRINTS)
    with pytest.raises(AssertionError, match=r"after a crash: 5 events on alerts\.0 before"):
        harness.crash()
    with pytest.raises(AssertionError, match="one with crashes differ on alerts"):
        any_crash(remembering(), events=EVENTS)
    with pytest.raises(AssertionError, match="one run and the next differ on alerts"):
        said_twice(remembering(), events=EVENTS)


def test_a_crash_comes_back_to_what_was_saved_and_reads_on_from_there() -> None:
    harness = Harness(highs())
    harness.send("ticks.trades", PRINTS)
    harness.save()
    harness.send("ticks.trades", symbol=["A"], ts_ns=[ns("09:31:00")], price=[13.0], size=[1.0])
    harness.crash()
    assert harness.state("higher")["high"].tolist() == [13.0, 50.0]
    harness._saved, harness._since = None, []  # nothing was saved, and nothing is left to read
    harness.crash()
    assert harness.state("higher").rows == 0


def test_time_is_advanced_second_by_second() -> None:
    counting = function("counting", writes="alerts", state={"heard": "i8"})

    @counting.on("ticks.trades")
    def trades(trades: Any, state: Any) -> None:
        pass

    @counting.on("ticks.clock")
    def tick(clock: int, state: Any) -> Any:
        state["heard"][:] += 1
        return {"symbol": ["A"], "ts_ns": [clock], "price": [1.0]}

    harness = Harness(counting)
    with pytest.raises(AssertionError, match="begin with clock"):
        harness.advance(1)
    harness.send("ticks.trades", PRINTS)
    harness.clock(ns("09:30:04"))
    out = harness.advance(3)
    assert (out["alerts"]["ts_ns"] - ns("09:30:04")).tolist() == [10**9, 2 * 10**9, 3 * 10**9]
    assert harness.state("counting")["heard"].tolist() == [4, 4]


def test_what_is_said_is_held_against_a_file_that_is_written_once(tmp_path: Path) -> None:
    file = tmp_path / "said" / "higher.jsonl"
    said = Harness(highs()).send("ticks.trades", PRINTS)
    with pytest.raises(AssertionError, match="was written: read it"):
        golden(said, file)
    golden(said, file)
    assert (
        file.read_text(encoding="utf-8")
        .splitlines()[0]
        .startswith(
            '{"subject": "alerts", "symbol": "A", "ts_ns": 1767623401000000000, "price": 11.0'
        )
    )
    with pytest.raises(AssertionError, match="expected 2 lines, found 1"):
        golden({"alerts": said["alerts"][:1]}, file)


async def test_a_sink_is_delivered_to_and_delivered_to_again() -> None:
    heard: list[tuple[str, int]] = []

    @function(reads="alerts.filtered", settings={"most": 3})
    async def telling(filtered: Any, settings: Any, http: Any) -> None:
        heard.append((http, int(filtered["number"][0]) + settings["most"]))

    sink = SinkHarness(telling, http="client", settings={"most": 5})
    with pytest.raises(AssertionError, match="nothing was delivered yet"):
        await sink.redeliver()
    await sink.deliver("alerts.filtered", "symbol number\nA 7")
    await sink.redeliver()
    assert heard == [("client", 12)] * 2
    with pytest.raises(AssertionError, match=r"asks for \['http'\]"):
        await SinkHarness(telling).deliver("alerts.filtered", "symbol number\nA 7")
    with pytest.raises(AssertionError, match=r"reads alerts\.filtered, not alerts"):
        await sink.deliver("alerts", symbol=["A"], ts_ns=[1], price=[1.0])
    with pytest.raises(AssertionError, match=r"higher is no sink: test it with Harness\(higher\)"):
        SinkHarness(highs())
