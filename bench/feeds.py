"""Vendors' frames to columns, beside the official SDK's way where it is installed: trades a second on one core."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import time
from collections.abc import Callable
from typing import Any

import msgpack

from runtime.config import Settings
from runtime.providers.alpaca_messages import AlpacaParser
from runtime.providers.crypto_messages import BinanceParser
from runtime.providers.live import JOINED_FRAMES
from runtime.providers.massive_messages import MassiveParser
from runtime.subjects import Subjects

AT_NS = 1_767_623_400_000_000_000
RUNS = 7


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    trades: int = 20_000,
    per_frame: int = 50,
) -> tuple[dict[str, Any], dict[str, Any]]:
    frames = trades // per_frame
    told = [[_alpaca(k * per_frame + n) for n in range(per_frame)] for k in range(frames)]
    as_json = [json.dumps(one).encode() for one in told]
    packed = [msgpack.packb([{**one, "t": _stamp(one["i"])} for one in some]) for some in told]
    massive = [
        json.dumps([_massive(k * per_frame + n) for n in range(per_frame)]).encode()
        for k in range(frames)
    ]
    binance = [json.dumps(_binance(k)).encode() for k in range(trades)]
    found: dict[str, Any] = {}
    for name, parser, data in (
        ("alpaca_msgpack", AlpacaParser("msgpack"), packed),
        ("alpaca_json", AlpacaParser(), as_json),
        ("massive_json", MassiveParser(), massive),
        ("binance_json", BinanceParser(), binance),
    ):
        found[f"{name}_per_s"] = round(
            trades / _best(lambda p=parser, d=data: _parsed(p, d, trades))
        )
    waiting = [packed[k : k + JOINED_FRAMES] for k in range(0, frames, JOINED_FRAMES)]
    parser = AlpacaParser("msgpack")
    found["alpaca_msgpack_waiting_per_s"] = round(
        trades / _best(lambda: _parsed_joined(parser, waiting, trades))
    )
    if importlib.util.find_spec("alpaca") is not None:
        sdk = round(trades / _best(lambda: _as_the_sdk(packed)))
        found |= {
            "sdk_alpaca_msgpack_per_s": sdk,
            "ratio": round(found["alpaca_msgpack_per_s"] / sdk, 1),
            "ratio_waiting": round(found["alpaca_msgpack_waiting_per_s"] / sdk, 1),
        }
    return {"trades": trades, "per_frame": per_frame}, found


def _best(work: Callable[[], None]) -> float:
    """The least of some runs: the others were disturbed."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _parsed(parser: Any, frames: list[bytes], trades: int) -> None:
    got = 0
    for data in frames:
        parsed = parser.parse(data, AT_NS)
        assert not parsed.refused, parsed.refused
        got += sum(len(batch) for batch in parsed.batches)
    assert got == trades


def _parsed_joined(parser: AlpacaParser, frames: list[list[bytes]], trades: int) -> None:
    """As a session does that is behind: what waits is parsed as one."""
    got = 0
    for some in frames:
        parsed = parser.parse_joined(some, AT_NS)
        assert not parsed.refused, parsed.refused
        got += sum(len(batch) for batch in parsed.batches)
    assert got == trades


class _Socket:
    """A connection to the SDK's eyes: frames that wait, then the word to stop."""

    def __init__(self, frames: list[bytes], stop: Callable[[], None]) -> None:
        self._left, self._stop = iter(frames), stop

    async def recv(self) -> bytes:
        for data in self._left:
            return data
        self._stop()
        return bytes(msgpack.packb([]))

    async def close(self) -> None:
        """Nothing is open."""


def _as_the_sdk(frames: list[bytes]) -> None:
    """What alpaca-py's own loop does with each frame, to the call of a handler that does nothing."""
    from alpaca.data.live import StockDataStream

    async def handled(_: Any) -> None:
        nonlocal got
        got += 1

    got = 0
    stream = StockDataStream("key", "secret")
    stream.subscribe_trades(handled, "*")
    stream._ws = _Socket(frames, lambda: stream._stop_stream_queue.put_nowait({}))
    asyncio.run(stream._consume())
    assert got


def _alpaca(number: int) -> dict[str, Any]:
    told = {
        "T": "t",
        "S": f"S{number % 500}",
        "i": number,
        "x": "V",
        "p": 10 + number % 97 / 100,
        "s": 100,
    }
    return {**told, "c": ["@"], "z": "A", "t": f"2026-01-05T14:30:00.{number:09d}Z"}


def _stamp(number: int) -> msgpack.Timestamp:
    return msgpack.Timestamp(AT_NS // 10**9, number)


def _massive(number: int) -> dict[str, Any]:
    told = {
        "ev": "T",
        "sym": f"S{number % 500}",
        "x": 4,
        "i": str(number),
        "z": 3,
        "p": 10.25,
        "s": 100,
    }
    return {**told, "c": [0], "t": AT_NS // 10**6 + number % 1000, "q": number}


def _binance(number: int) -> dict[str, Any]:
    told = {
        "e": "trade",
        "E": AT_NS // 10**6,
        "s": "BTCUSDT",
        "t": number + 1,
        "p": "61800.30",
        "q": "0.006",
    }
    return {"stream": "btcusdt@trade", "data": {**told, "T": AT_NS // 10**6, "m": True, "M": True}}
