"""Files of columns: read trades from CSV or Parquet, write Parquet. The only module that knows polars."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

REQUIRED = ("symbol", "ts_ns", "price", "size")
OPTIONAL = {"upd": pl.UInt8, "id": pl.Int64, "trade_id": pl.Int64}
ENDINGS = (".parquet", ".csv", ".csv.gz")


class TableError(ValueError):
    """A file that cannot be read or written; the text names file, column and row."""


def read_trades(path: Path) -> dict[str, Any]:
    """The columns of a trades file: symbol (list of str), ts_ns i8, price f8, size f8, and upd, id if there.

    Raises TableError for a missing column, a wrong type, a null, a price that is not above 0, a
    negative size or an empty file, naming the first row (counted from 1) that is wrong.
    """
    table = _read(path)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise TableError(
            f"{path}: column {', '.join(missing)} is missing; expected {', '.join(REQUIRED)}, "
            f"found {', '.join(table.columns)}"
        )
    if table.height == 0:
        raise TableError(f"{path}: holds no trades")
    columns: dict[str, Any] = {
        "symbol": _cast(path, table, "symbol", pl.String).to_list(),
        "ts_ns": _cast(path, table, "ts_ns", pl.Int64).to_numpy(),
        "price": _cast(path, table, "price", pl.Float64).to_numpy(),
        "size": _cast(path, table, "size", pl.Float64).to_numpy(),
    }
    for name, dtype in OPTIONAL.items():
        if name in table.columns and table[name].dtype.is_integer():
            columns["id" if name == "trade_id" else name] = _cast(
                path, table, name, dtype
            ).to_numpy()
    _refuse(path, "symbol", np.array([not symbol for symbol in columns["symbol"]]), "a symbol")
    _refuse(path, "ts_ns", columns["ts_ns"] <= 0, "nanoseconds since 1970 above 0")
    _refuse(
        path, "price", ~(columns["price"] > 0) | ~np.isfinite(columns["price"]), "a price above 0"
    )
    _refuse(path, "size", ~(columns["size"] >= 0) | ~np.isfinite(columns["size"]), "a size from 0")
    return columns


def _read(path: Path) -> pl.DataFrame:
    if not path.name.endswith(ENDINGS):
        raise TableError(f"{path}: expected a name that ends in {', '.join(ENDINGS)}")
    try:
        if path.name.endswith(".parquet"):
            return pl.read_parquet(path)
        return pl.read_csv(path, schema_overrides={"symbol": pl.String}, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise TableError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def _cast(path: Path, table: pl.DataFrame, name: str, dtype: Any) -> pl.Series:
    if name == "ts_ns" and not table[name].dtype.is_integer():
        raise TableError(
            f"{path}: column ts_ns: expected whole nanoseconds, found {table[name].dtype}"
        )
    try:
        values = table[name].cast(dtype)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise TableError(
            f"{path}: column {name}: expected {dtype}, found {table[name].dtype}: {reason}"
        ) from error
    if values.null_count():
        row = int(values.is_null().arg_max() or 0) + 1
        raise TableError(f"{path}: column {name}, row {row}: expected a value, found none")
    return values


def _refuse(path: Path, name: str, wrong: Any, expected: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong)) + 1
        raise TableError(
            f"{path}: column {name}, row {row}: expected {expected}; {int(wrong.sum())} rows are wrong"
        )


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length; the file appears whole or not at all. Raises TableError."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pl.DataFrame(dict(columns)).write_parquet(unfinished, compression="zstd")
        unfinished.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        unfinished.unlink(missing_ok=True)
        raise TableError(f"{path}: cannot be written: {error}") from error
