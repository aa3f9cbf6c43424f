"""Real workers on a real server: hand-made trades, functions dropped in, changed, broken; frames that kill."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgpack
import nats as nats_py
import pytest

from runtime.bus import BusError
from runtime.deadletters import drop, letters, redrive
from runtime.frames import decode
from runtime.subjects import Subjects, partition_of
from runtime.supervisor import Supervisor, ask_lag
from tests.conftest import ROOT, Nats

ECHO = '''"""Echo every trade."""
from runtime import function


@function(reads="ticks.trades", writes="alerts", state={"count": "f8"})
def echo(trades, state):
    state["count"][trades["row"]] += 1
    return {"row": trades["row"], "ts_ns": trades["ts_ns"], "price": state["count"][trades["row"]]}
'''
PARTITION = partition_of("AAPL", 8)


@contextlib.asynccontextmanager
async def workers(
    nats: Nats, functions: Path, count: int = 1, **settings: str
) -> AsyncIterator[Supervisor]:
    """Worker processes on a functions directory, ended with the block."""
    environment = {"JETSCAN_NATS_URL": nats.url, "JETSCAN_FUNCTIONS_DIR": str(functions)}
    environment |= {f"JETSCAN_{name.upper()}": value for name, value in settings.items()}
    environment["JETSCAN_SUBJECTS_FILE"] = str(ROOT / "subjects.yaml")
    said: list[str] = []
    supervisor = Supervisor(environment, nats.directory / "logs", said.append)
    for _ in range(count):
        supervisor.start_worker("--reload")
    try:
        yield supervisor
    finally:
        await supervisor.stop_all()


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    directory = tmp_path / "functions"
    directory.mkdir()
    return directory


async def until(check: Callable[[], Any], seconds: float = 20) -> Any:
    """What `check` answers once it answers something."""
    async with asyncio.timeout(seconds):
        while True:
            found = await check()
            if found:
                return found
            await asyncio.sleep(0.05)


async def hosted(nats: Nats, chain: str) -> list[dict[str, Any]]:
    lag = await ask_lag(nats.bus)
    units = [unit for unit in lag.units if unit["chain"] == chain]
    return units if len(units) == 8 else []


async def trade(nats: Nats, price: float) -> None:
    """As anybody would publish it, with a plain client."""
    client = await nats_py.connect(nats.url)
    await client.publish("ticks.raw.AAPL", b'{"price": %r, "size": 100}' % price)
    await client.flush()
    await client.close()


async def prices(nats: Nats, subjects: Subjects) -> list[float]:
    messages = await nats.bus.history("ALERTS", f"alerts.{PARTITION}", 1000)
    record = subjects.record_of("alerts")
    return [float(price) for m in messages for price in decode(m.data, record)["price"]]


async def test_a_dropped_function_runs_is_changed_and_keeps_its_state(
    nats: Nats, subjects: Subjects, functions: Path
) -> None:
    async with workers(nats, functions):
        (functions / "echo.py").write_text(ECHO, encoding="utf-8")
        await until(lambda: hosted(nats, "echo"))
        await trade(nats, 10.0)
        await until(lambda: prices(nats, subjects))
        (functions / "echo.py").write_text(ECHO.replace("+= 1", "+= 10"), encoding="utf-8")

        async def changed() -> bool:
            await trade(nats, 10.0)
            return (await prices(nats, subjects))[-1] >= 11

        await until(changed)
        found = await prices(nats, subjects)
        assert found[0] == 1.0
        assert all(b - a in (1.0, 10.0) for a, b in itertools.pairwise(found))

        (functions / "echo.py").write_text("def broken(:", encoding="utf-8")
        await until(lambda: faults(nats))
        before = len(await prices(nats, subjects))
        await trade(nats, 10.0)
        await until(lambda: more(nats, subjects, before))


async def faults(nats: Nats, word: str = "not Python") -> list[str]:
    return [fault for fault in (await ask_lag(nats.bus)).faults if word in fault]


async def more(nats: Nats, subjects: Subjects, before: int) -> bool:
    return len(await prices(nats, subjects)) > before


async def test_a_version_that_does_not_say_what_becomes_of_the_state_is_refused_and_the_old_one_runs_on(
    nats: Nats, subjects: Subjects, functions: Path
) -> None:
    (functions / "echo.py").write_text(ECHO, encoding="utf-8")
    async with workers(nats, functions):
        await until(lambda: hosted(nats, "echo"))
        await trade(nats, 10.0)
        await until(lambda: prices(nats, subjects))
        other = ECHO.replace('state={"count": "f8"}', 'state={"count": "f8", "other": "f8"}')
        (functions / "echo.py").write_text(other, encoding="utf-8")
        await until(lambda: faults(nats, "StateChanged"))
        await trade(nats, 10.0)
        await until(lambda: more(nats, subjects, 1))
        assert await prices(nats, subjects) == [1.0, 2.0]
        assert len(await hosted(nats, "echo")) == 8
        mended = other.replace('"other": "f8"}', '"other": "f8"}, carry="keep"')
        (functions / "echo.py").write_text(mended, encoding="utf-8")

        async def is_mended() -> bool:
            return not await faults(nats, "StateChanged")

        await until(is_mended)
        await trade(nats, 10.0)
        await until(lambda: more(nats, subjects, 2))
        assert await prices(nats, subjects) == [1.0, 2.0, 3.0]


async def test_a_failed_frame_is_put_back_in_order_or_dropped(
    nats: Nats, subjects: Subjects, functions: Path
) -> None:
    raising = ECHO.replace('    state["count"]', '    if trades["price"][0] == 666:\n        raise ValueError("beast")\n    state["count"]', 1)  # fmt: skip
    (functions / "echo.py").write_text(raising, encoding="utf-8")
    async with workers(nats, functions):
        await until(lambda: hosted(nats, "echo"))
        for price in (10.0, 666.0, 10.0):
            await trade(nats, price)
        await until(lambda: letters(nats.bus))
        await until(lambda: more(nats, subjects, 1))
        (one,) = await letters(nats.bus, "echo")
        assert (one.function, one.reason) == ("echo", "ValueError: beast")
        assert "raise ValueError" in one.trace
        (functions / "echo.py").write_text(ECHO, encoding="utf-8")

        async def mended() -> bool:
            return all(unit["version"] != one.version for unit in await hosted(nats, "echo"))

        await until(mended)
        version = {unit["version"] for unit in await hosted(nats, "echo")}
        assert len(version) == 1
        await asyncio.sleep(0.5)
        await redrive(nats.bus, one.sequence)
        await until(lambda: more(nats, subjects, 2))
        assert await prices(nats, subjects) == [1.0, 2.0, 3.0]
        assert await letters(nats.bus) == []
        with pytest.raises(BusError, match="no dead letter"):
            await redrive(nats.bus, one.sequence)
        await nats.bus.put("dead.echo.all", msgpack.packb({**vars(one), "frame": b""}))
        (left,) = await letters(nats.bus)
        await drop(nats.bus, left.sequence)
        assert await letters(nats.bus) == []


async def test_a_frame_that_never_returns_is_set_aside_and_the_rest_goes_on(
    nats: Nats, subjects: Subjects, functions: Path
) -> None:
    hanging = ECHO.replace('    state["count"]', '    while trades["price"][0] == 666:\n        pass\n    state["count"]', 1)  # fmt: skip
    (functions / "echo.py").write_text(hanging, encoding="utf-8")
    async with workers(nats, functions, handler_timeout_s="0.5") as supervisor:
        await until(lambda: hosted(nats, "echo"))
        for price in (10.0, 666.0, 10.0):
            await trade(nats, price)
        found = await until(lambda: letters(nats.bus), 60)
        assert "killed the process" in found[0].reason
        await until(lambda: more(nats, subjects, 1), 30)
        assert await prices(nats, subjects) == [1.0, 2.0]
        assert sum(process.restarts for process in supervisor.workers) >= 2


async def test_a_paused_function_holds_its_place_and_goes_on(
    nats: Nats, subjects: Subjects, functions: Path
) -> None:
    (functions / "echo.py").write_text(ECHO, encoding="utf-8")
    async with workers(nats, functions):
        await until(lambda: hosted(nats, "echo"))
        await nats.bus.kv("functions").put("pause.echo", b"1")

        async def is_paused() -> bool:
            return all(unit["paused"] for unit in await hosted(nats, "echo"))

        await until(is_paused)
        await trade(nats, 10.0)
        await asyncio.sleep(0.5)
        assert await prices(nats, subjects) == []
        await nats.bus.kv("functions").delete("pause.echo")
        await until(lambda: more(nats, subjects, 0))


async def test_work_is_shared_when_a_worker_comes_and_handed_back_when_it_goes(
    nats: Nats, functions: Path
) -> None:
    (functions / "echo.py").write_text(ECHO, encoding="utf-8")
    async with workers(nats, functions) as supervisor:
        await until(lambda: hosted(nats, "echo"))
        added = supervisor.start_worker("--reload")

        async def spread() -> bool:
            units = await hosted(nats, "echo")
            return sorted(
                sum(u["worker"] == w for u in units) for w in {u["worker"] for u in units}
            ) == [4, 4]

        await until(spread)
        await supervisor.stop(added)

        async def together() -> bool:
            return len({unit["worker"] for unit in await hosted(nats, "echo")}) == 1

        await until(together)
