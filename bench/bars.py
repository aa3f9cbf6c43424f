"""The bar kernel alone, and the bars function in its chain with decoding: trades per second and core."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from functions.bars import bars
from functions.market import candles, prints, repairs
from runtime.chain import Chain
from runtime.config import Settings
from runtime.frames import Frame, encode
from runtime.loader import ChainPlan, load_plan
from runtime.state import Rows, Table, shape_of
from runtime.subjects import Subjects

SYMBOLS = 625  # of 10,000 in 16 partitions
TRADES = 2_048
ROUNDS = 5


def run(
    settings: Settings, subjects: Subjects, quiet: bool, frames: int = 2_000
) -> tuple[dict[str, Any], dict[str, Any]]:
    made = list(_frames(frames))
    kernel = [_kernel(made) for _ in range(ROUNDS)]
    chain = [_chain(settings, subjects, made) for _ in range(ROUNDS)]
    sizes = {"symbols": SYMBOLS, "trades_per_frame": TRADES, "frames": frames, "rounds": ROUNDS}
    return sizes, {
        "ticks_per_s": round(float(np.median(kernel))),
        "least_ticks_per_s": round(min(kernel)),
        "chain_ticks_per_s": round(float(np.median(chain))),
    }


def _frames(count: int) -> Any:
    draw = np.random.default_rng(5)
    weight = np.arange(1, SYMBOLS + 1) ** -0.9
    chances = np.cumsum(weight / weight.sum())
    start = 1_767_623_400_000_000_000
    for number in range(count):
        row = np.searchsorted(chances, draw.random(TRADES)).clip(0, SYMBOLS - 1)
        ts_ns = start + number * 20_000_000 + np.sort(draw.integers(0, 20_000_000, TRADES))
        price = np.round(100 + draw.standard_normal(TRADES), 2)
        yield row.astype(np.int64), ts_ns, price, draw.integers(1, 500, TRADES).astype(float)


def _kernel(made: list[Any]) -> float:
    rows = Rows(f"S{k}" for k in range(SYMBOLS))
    state = Table(rows, {name: shape_of(name, shape) for name, shape in bars.state.items()})
    began = time.perf_counter()
    for row, ts_ns, price, size in made:
        taken, order, _, _ = repairs.sift(state, prints.Prints(row, ts_ns, price, size))
        candles.add_prints(state, taken, prints.keep(state, taken, order))
    return len(made) * TRADES / (time.perf_counter() - began)


def _chain(settings: Settings, subjects: Subjects, made: list[Any]) -> float:
    """As a worker runs it: decode, bind, undo mark, kernel."""
    loaded = load_plan(Path(settings.functions_dir), subjects)
    market = loaded.chain("market")
    assert market is not None
    bars = tuple(one for one in market.functions if one.name == "bars")
    plan = ChainPlan("market", "MARKET", bars, ("ticks.trades", "ticks.clock"), market.partitions)
    chain = Chain(plan, subjects, 0)
    symbols = [f"S{k}" for k in range(SYMBOLS)]
    record = subjects.record_of("ticks.trades")
    messages = []
    for row, ts_ns, price, size in made:
        frame = Frame({"ts_ns": ts_ns, "price": price, "size": size}, symbols, row)
        messages.append(encode(frame, record))
    began = time.perf_counter()
    for number, data in enumerate(messages):
        chain.run(number, "ticks.trades.0", data)
    return len(made) * TRADES / (time.perf_counter() - began)
