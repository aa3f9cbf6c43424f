"""How many workers a chain wants: lag over target, within limits, slow to give back, held where unknown."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import httpx
import numpy as np
import pytest

from runtime import telemetry
from runtime.frames import Frame, encode
from runtime.lag import Lag, ask_lag_s, look
from runtime.scaling import Bounds, ChainLag, Figure, Scaling, decide, wanted
from runtime.subjects import Subjects
from tests.conftest import Nats

BOUNDS = Bounds(least=1, most=4, target_s=2.0, cooldown_s=20.0)


def after(lags_s: list[float | None], desired: int = 1, every_s: float = 1.0) -> list[int]:
    """The figure after each of these looks."""
    figure, figures = Figure(desired), []
    for number, lag_s in enumerate(lags_s, 1):
        figure = decide(figure, ChainLag(lag_s, 8), number * every_s, BOUNDS)
        figures.append(figure.desired)
    return figures


@pytest.mark.parametrize(
    ("lag_s", "partitions", "workers"),
    [(0.0, 8, 1), (2.0, 8, 1), (2.1, 8, 2), (7.9, 8, 4), (900.0, 8, 4), (900.0, 1, 1)],
)
def test_workers_are_lag_over_target_within_limits_and_partitions(
    lag_s: float, partitions: int, workers: int
) -> None:
    assert wanted(lag_s, BOUNDS, partitions) == workers


def test_the_figure_grows_to_what_every_look_of_three_seconds_wants() -> None:
    assert after([9.0, 9.0, 5.0, 9.0]) == [1, 1, 3, 3]


def test_a_moment_of_lag_adds_nobody() -> None:
    assert set(after([0.0, 90.0, 90.0, 0.0] * 6)) == {1}
    assert set(after([0.0, 9.0] * 5, desired=2)) == {2}


def test_after_a_cool_down_without_lag_one_worker_is_given_back_and_then_the_next() -> None:
    figures = after([0.0] * 61, desired=4)
    assert [figures.index(number) + 1 for number in (3, 2, 1)] == [20, 40, 60]


def test_the_first_look_after_a_hold_decides_nothing() -> None:
    hold: list[float | None] = [None] * 40
    assert after([*hold, 0.0], desired=4)[-1] == 4
    assert after([*hold, 9.0], desired=1)[-1] == 1
    assert after([*hold, 9.0, 9.0, 9.0, 9.0], desired=1)[-1] == 4


def test_lag_within_the_cool_down_keeps_the_workers() -> None:
    assert set(after(([0.0] * 18 + [7.0]) * 4, desired=4)) == {4}


def test_a_lag_nobody_knows_holds_the_figure() -> None:
    assert set(after([None] * 200, desired=3)) == {3}
    assert after([9.0, None, None, 9.0])[:3] == [1, 1, 1]


def test_figures_begin_at_the_workers_that_are_there() -> None:
    scaling = Scaling(BOUNDS)
    assert scaling.look({"market": ChainLag(0.0, 8)}, present=3, now_s=50.0)["market"].desired == 3
    assert scaling.look({}, present=0, now_s=51.0)["market"].lag_s is None
    assert scaling.told() == {
        "desired": 3,
        "chains": {"market": {"desired": 3, "lag_s": None, "is_held": True}},
    }


def unit(partition: int | None, behind_s: float, paused: bool = False) -> dict[str, Any]:
    name = {"unit": f"c.{partition}", "chain": "c", "partition": partition}
    return {**name, "behind_s": behind_s, "paused": paused}


def test_a_chain_is_as_late_as_its_last_partition_and_unknown_where_one_is_missing() -> None:
    both = Lag(units=[unit(0, 1.0), unit(1, 7.0)])
    assert both.by_chain(2) == {"c": ChainLag(7.0, 2)}
    assert both.by_chain(3) == {"c": ChainLag(None, 3)}
    twice = Lag(units=[unit(0, 1.0), unit(0, 1.0)])  # while it is handed over
    assert twice.by_chain(2) == {"c": ChainLag(None, 2)}
    assert Lag(units=[unit(None, 3.0)]).by_chain(8) == {"c": ChainLag(3.0, 1)}
    assert Lag(units=[unit(0, 900.0, paused=True)]).by_chain(1) == {"c": ChainLag(0.0, 1)}


async def test_lag_is_event_time_to_the_newest_clock_or_the_age_of_the_input(
    nats: Nats, subjects: Subjects
) -> None:
    second_ns, record = 10**9, subjects.record_of("ticks.clock")
    for partition, seconds in ((0, 100), (1, 130)):
        frame = Frame({"ts_ns": np.array([seconds * second_ns])}, source="test")
        await nats.bus.put(f"ticks.clock.{partition}", encode(frame, record))
    await nats.bus.put(
        "ticks.clock.AAPL", b'{"ts_ns": 1}'
    )  # by hand: it says nothing of a partition
    hosted = [
        {"partition": 0, "clock_ns": 93 * second_ns, "answered_ns": 1, "pending": 4},
        {"partition": None, "clock_ns": 90 * second_ns, "answered_ns": 1, "pending": 4},
        {"partition": 1, "clock_ns": 0, "answered_ns": 0, "pending": 4},
        {"partition": 1, "clock_ns": 0, "answered_ns": 1, "pending": 0},
        {"partition": 1, "clock_ns": 0, "answered_ns": 1, "pending": 1},
    ]
    body = {"worker": "w", "pid": 1, "units": hosted, "faults": [], "refused": {}}
    listener = await nats.bus.respond("runtime.status", lambda _: msg(body))
    behind = [one["behind_s"] for one in (await ask_lag_s(nats.bus, subjects)).units]
    assert behind[:4] == [7.0, 40.0, 0.0, 0.0]
    assert behind[4] > 10**9
    await listener.stop()


def msg(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


async def test_figures_hold_while_nobody_answers_and_are_exported(
    nats: Nats, subjects: Subjects
) -> None:
    scaling = Scaling(BOUNDS)
    scaling.look({"market": ChainLag(8.0, 8)}, 2, 0.0)
    lag = await look(nats.bus, subjects, scaling)
    assert lag is not None
    assert lag.workers == 0
    assert scaling.figures["market"].desired == 2
    os.kill(nats.server.pid, signal.SIGSTOP)
    await asyncio.sleep(0.3)  # its threads stop one after the other
    try:
        assert await look(nats.bus, subjects, scaling) is None
    finally:
        os.kill(nats.server.pid, signal.SIGCONT)
    assert scaling.figures["market"].desired == 2
    server = await telemetry.serve_metrics("127.0.0.1", 0, scaling=scaling.told)
    address = "http://127.0.0.1:" + str(server.sockets[0].getsockname()[1])
    async with httpx.AsyncClient(base_url=address) as client:
        assert (await client.get("/scaling")).json()["chains"]["market"]["desired"] == 2
        assert 'jetscan_desired_workers{chain="market"} 2.0' in (await client.get("/metrics")).text
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5)
