"""Files whose trades were cancelled or corrected later: published as reported, put right in order of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from functions.bars import bars
from runtime.providers import SECOND_NS, backtest_events
from runtime.providers.file import FileProvider
from runtime.tables import TableError
from runtime.testing import Harness

T0 = 1_767_623_400_000_000_000
HEAD = "symbol,ts_ns,price,size,id,cancelled_ns,corrected_ns,corrected_price,corrected_size\n"


def written(folder: Path, *rows: str) -> Path:
    path = folder / "trades.csv"
    path.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def row(second: int, price: float, cancelled: int = 0, corrected: int = 0, right: str = ",") -> str:
    times = [str(T0 + one * SECOND_NS) if one else "" for one in (cancelled, corrected)]
    return f"A,{T0 + second * SECOND_NS},{price},100,{second},{times[0]},{times[1]},{right}"


def test_corrections_come_in_order_of_time_with_the_clock_between(tmp_path: Path) -> None:
    path = written(tmp_path, row(1, 10.0, 9, 4, "11.0,50"), row(2, 20.0, 3), row(8, 30.0))
    told = []
    for batch in FileProvider([path]).batches():
        prices = batch.columns.get("new_price", batch.columns.get("price"))
        at = (batch.times - T0) // SECOND_NS
        told += [(batch.kind, int(one)) for one in at] if prices is None else [
            (batch.kind, int(one), price) for one, price in zip(at, prices.tolist(), strict=True)
        ]  # fmt: skip
    found = [one for one in told if one[0] != "clock"]
    assert str(found) == str([("trades", 1, 10.0), ("trades", 2, 20.0), ("corrections", 3, np.nan), ("corrections", 4, 11.0), ("trades", 8, 30.0), ("corrections", 9, np.nan)])  # fmt: skip
    assert [one[1] for one in told] == sorted(one[1] for one in told)
    assert told.index(("clock", 4)) < told.index(("corrections", 4, 11.0))


def test_bars_of_such_a_file_are_those_of_the_trades_that_stand(tmp_path: Path) -> None:
    path = written(tmp_path, row(1, 10.0, 70, 4, "11.0,50"), row(2, 20.0, 3), row(8, 30.0, 0, 9, "31.0,"))  # fmt: skip
    h, said = Harness(bars), []
    for base, frame in backtest_events([str(path)], lambda done, total: None):
        columns = {name: frame[name].tolist() for name in frame.columns}
        if frame.symbols:
            columns["symbol"] = frame["symbol"].tolist()
        out = h.send(base, **columns).get("bars.final")
        said += [] if out is None else list(zip(out["revision"].tolist(), out["open"].tolist(), out["volume"].tolist(), strict=True))  # fmt: skip
    assert said == [(0, 11.0, 150.0), (1, 31.0, 100.0)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (row(5, 10.0, cancelled=4), "cancelled_ns, row 1: expected 0 or a time not before"),
        (row(5, 10.0, corrected=6), "corrected_price, row 1: expected a price above 0"),
    ],
)
def test_a_correction_that_cannot_be_is_refused_with_its_row(
    tmp_path: Path, line: str, says: str
) -> None:
    with pytest.raises(TableError, match=says):
        FileProvider([written(tmp_path, line)])
