"""The labelled market and its truth as Parquet files, to test other tools with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime.providers.labelled import truth_of
from runtime.providers.labelled.dirt import arrivals
from runtime.providers.labelled.market import Columns, Market, make_market
from runtime.providers.labelled.truth import Truth
from runtime.tables import make_folder, write_parquet


def write_market(folder: Path, seed: int, dirt: str) -> dict[str, int]:
    """Write one file per kind of event and the truth; the rows of each, by file name.

    trades and corrections   in order of arrival, with `arrived_ns`; wrong prints as they were told
    quotes, status, daily, reference    in order of time
    truth                    kind, symbol, ts_ns, seen_ns, value (`runtime.providers.labelled.truth`)

    Raises TableError where a file cannot be written.
    """
    make_folder(folder)
    market = make_market(seed)
    told = arrivals(market.trades, dirt, seed)
    files = {
        "trades": _named(market, told.trades),
        "corrections": _named(market, told.corrections),
        "quotes": _named(market, market.quotes),
        "status": _named(market, market.status),
        "daily": _named(market, market.daily),
        "reference": _named(market, market.reference),
        "truth": _rows(truth_of(market)),
    }
    for name, columns in files.items():
        write_parquet(folder / f"{name}.parquet", columns)
    return {name: len(columns["ts_ns"]) for name, columns in files.items()}


def _named(market: Market, columns: Columns) -> dict[str, Any]:
    named: dict[str, Any] = {"symbol": [market.symbols[who] for who in columns["who"].tolist()]}
    for name, values in columns.items():
        if name != "who":
            named[name] = values.tolist() if values.dtype == object else values
    return named


def _rows(truth: list[Truth]) -> dict[str, Any]:
    return {
        "kind": [row.kind for row in truth],
        "symbol": [row.symbol for row in truth],
        "ts_ns": np.array([row.ts_ns for row in truth], dtype=np.int64),
        "seen_ns": np.array([row.seen_ns for row in truth], dtype=np.int64),
        "value": np.array([row.value for row in truth]),
    }
