"""Files of columns: read trades from CSV or Parquet, write Parquet. The only module that knows polars."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

REQUIRED = ("symbol", "ts_ns", "price", "size")
OPTIONAL = {
    "upd": pl.UInt8,
    "id": pl.Int64,
    "trade_id": pl.Int64,
    "count": pl.Int64,
    "recv_ns": pl.Int64,
    "recv_ts_ns": pl.Int64,
}
CORRECTED = {
    "cancelled_ns": pl.Int64,
    "corrected_ns": pl.Int64,
    "corrected_price": pl.Float64,
    "corrected_size": pl.Float64,
}  # nothing, or 0, where a trade was never cancelled or corrected
OTHER_NAMES = {"trade_id": "id", "recv_ts_ns": "recv_ns"}
GOOD_CORRECTIONS = (
    "",
    "0",
    "00",
    "1",
    "01",
)  # of TAQ: as traded, or corrected later; the rest was cancelled
PRICE_BELOW = 9.2e9  # i64::MAX in units of 1e-9, Databento's word for no price, is 9.22e9
NO_SIZE = 2**32 - 1
TIME_BELOW_NS = 9_200_000_000_000_000_000  # the year 2261; i64::MAX stands for no time
OHLC = ("open", "high", "low", "close")
ENDINGS = (".parquet", ".csv", ".csv.gz")


class TableError(ValueError):
    """A file that cannot be read or written; the text names file, column and row."""


def read_trades(path: Path) -> dict[str, Any]:
    """The columns of a trades file: symbol (list of str), ts_ns i8, price f8, size f8, and upd, id, recv_ns and CORRECTED if there.

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
            columns[OTHER_NAMES.get(name, name)] = _cast(path, table, name, dtype).to_numpy()
    if "upd" not in columns and "conditions" in table.columns:
        columns["conditions"] = table["conditions"].cast(pl.String).fill_null("").to_list()
        has_tape = "tape" in table.columns
        columns["tape"] = table["tape"].cast(pl.String).fill_null("A").to_list() if has_tape else []
    if "correction" in table.columns:
        told = table["correction"].cast(pl.String).fill_null("").str.strip_chars()
        columns["is_good"] = told.is_in(GOOD_CORRECTIONS).to_numpy()
    _refuse(path, "symbol", np.array([not symbol for symbol in columns["symbol"]]), "a symbol")
    no_time = (columns["ts_ns"] <= 0) | (columns["ts_ns"] >= TIME_BELOW_NS)
    _refuse(path, "ts_ns", no_time, "nanoseconds since 1970 above 0")
    _refuse_values(path, columns["price"], columns["size"])
    _add_corrections(path, table, columns)
    return columns


def _add_corrections(path: Path, table: pl.DataFrame, columns: dict[str, Any]) -> None:
    """When trades were cancelled or corrected, and to what; 0 = never."""
    for name, dtype in CORRECTED.items():
        if name in table.columns:
            values = table[name].fill_null(0)
            columns[name] = _cast(path, values.to_frame(), name, dtype).to_numpy()
            if name.endswith("_ns"):
                early = (columns[name] != 0) & (columns[name] < columns["ts_ns"])
                _refuse(path, name, early, "0 or a time not before the trade's")
    if "corrected_ns" in columns:
        price = columns.get("corrected_price", np.zeros(table.height))
        is_wrong = (columns["corrected_ns"] != 0) & ~((price > 0) & (price < PRICE_BELOW))
        _refuse(path, "corrected_price", is_wrong, "a price above 0 where corrected_ns is one")


def _refuse_values(path: Path, price: Any, size: Any) -> None:
    """Prices and sizes that are none: also i64::MAX (in any unit) and u32::MAX, which say so in DBN."""
    no_price = ~(price > 0) | ~(price < PRICE_BELOW)
    _refuse(path, "price", no_price, f"a price above 0 and below {PRICE_BELOW:.0f}")
    _refuse(path, "size", ~(size >= 0) | ~np.isfinite(size) | (size == NO_SIZE), "a size from 0")


def read_columns(path: Path, required: list[str]) -> dict[str, list[Any]]:
    """Every column of a file as Python values, None where there is none.

    Raises TableError for a file that cannot be read or lacks one of `required`.
    """
    table = _read(path)
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise TableError(
            f"{path}: column {', '.join(missing)} is missing; found {', '.join(table.columns)}"
        )
    return {name: table[name].to_list() for name in table.columns}


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


# -- writing


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length; the file appears whole or not at all. Raises TableError."""
    with whole(path) as unfinished:
        pl.DataFrame(dict(columns)).write_parquet(unfinished, compression="zstd")


def merge_parquet(
    path: Path,
    columns: Mapping[str, Any],
    key: list[str],
    replaced: tuple[str, Any, Any, list[str]] | None = None,
) -> int:
    """Rows into a file, those of equal key in the place of what was there; the file appears whole. Raises TableError.

    `replaced` is a column, its least and greatest value, and symbols (none: all): rows of the file in there
    are dropped first. Returns how many rows the file has.
    """
    table = pl.DataFrame(dict(columns), infer_schema_length=None)
    if path.exists():
        there = _read(path)
        if replaced is not None:
            there = there.filter(~_is_within(*replaced))
        if there.height:
            table = pl.concat([there, table], how="diagonal_relaxed")
    table = table.unique(key, keep="last", maintain_order=True).sort(key)
    with whole(path) as unfinished:
        table.write_parquet(unfinished, compression="zstd")
    return table.height


def _is_within(column: str, least: Any, most: Any, symbols: list[str]) -> pl.Expr:
    within = pl.col(column).is_between(least, most) if column else pl.lit(value=True)
    return within & pl.col("symbol").is_in(symbols) if symbols else within


def write_text(path: Path, text: str) -> None:
    """Write a text; the file appears whole or not at all. Raises TableError."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def check_writable(path: Path) -> None:
    """Before long work: raises TableError where a file could not be written at its end."""
    with contextlib.suppress(_Tried), whole(path) as unfinished:
        unfinished.touch()
        raise _Tried


class _Tried(Exception):
    """Nothing is wrong, and nothing is to be left."""


def make_folder(folder: Path) -> None:
    """Make a folder, and those it lies in, that files can be written to. Raises TableError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TableError(f"{folder}: cannot be made: {_what_to_do(folder, error)}") from error
    check_writable(folder / "_")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes `path` once it is whole; nothing is left of what failed. Raises TableError."""
    target = Path(os.path.realpath(path))  # a link stays one
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.exists() and not target.is_file():  # /dev/null is not to be replaced
            raise OSError(errno.EISDIR, "no file")
        yield unfinished
        unfinished.replace(target)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise TableError(f"{path}: cannot be written: {_what_to_do(path, error)}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _what_to_do(path: Path, error: Exception) -> str:
    """Why a file was not written, and the way out."""
    code = getattr(error, "errno", None)
    told = re.search(r"os error (\d+)", str(error))  # how polars says it
    code = int(told[1]) if code is None and told else code
    ways = {
        errno.ENOENT: f"{path.parent} takes no files; write elsewhere"
        if path.parent.exists()
        else f"there is no folder {path.parent}; make it first",
        errno.ENOTDIR: f"{path.parent} is no folder; name a file in one",
        errno.EISDIR: "it is there and no file; name another",
        errno.ENOSPC: f"the disk of {path.parent} is full; free some space or write elsewhere",
        errno.EDQUOT: f"the quota of {path.parent} is used up; free some space or write elsewhere",
        errno.EFBIG: "it would be larger than this process may write (ulimit -f); write elsewhere",
        errno.EROFS: f"{path.parent} is read-only; write elsewhere",
        **dict.fromkeys(
            (errno.EACCES, errno.EPERM), f"no permission to write in {path.parent}; write elsewhere"
        ),
    }
    return ways.get(code or 0, str(error).splitlines()[0])


def read_bars(path: Path) -> dict[str, Any]:
    """Minute or daily bars: symbol, ts_ns (start), open, high, low, close, volume; NaN where a column is missing:
    vwap, count (or n_trades), factor (or adj_ratio_next: what prices are multiplied with from the next day on).

    Raises TableError as `read_trades` does; a bar whose high is below its low is refused.
    """
    table = _read(path)
    date = next((name for name in ("date", "day") if name in table.columns), "")
    if "ts_ns" not in table.columns and date:
        table = table.with_columns(_midnights(path, table[date]).alias("ts_ns"))
    needed = ("symbol", "ts_ns", *OHLC, "volume")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise TableError(
            f"{path}: column {', '.join(missing)} is missing; expected {', '.join(needed)}"
        )
    if table.height == 0:
        raise TableError(f"{path}: holds no bars")
    table = table.sort("ts_ns", maintain_order=True)
    columns: dict[str, Any] = {
        "symbol": _cast(path, table, "symbol", pl.String).to_list(),
        "ts_ns": _cast(path, table, "ts_ns", pl.Int64).to_numpy(),
    }
    for name in (*OHLC, "volume"):
        columns[name] = _cast(path, table, name, pl.Float64).to_numpy()
    for name, other in (("vwap", "vw"), ("count", "n_trades"), ("factor", "adj_ratio_next")):
        source = next((one for one in (name, other) if one in table.columns), None)
        absent = np.full(table.height, np.nan)
        columns[name] = (
            table[source].cast(pl.Float64).fill_null(np.nan).to_numpy() if source else absent
        )
    for name in OHLC:
        _refuse(path, name, ~(columns[name] > 0), "a price above 0")
    _refuse(path, "high", columns["high"] < columns["low"], "a high not below the low")
    _refuse(path, "volume", ~(columns["volume"] >= 0), "a volume from 0")
    return columns


def _midnights(path: Path, dates: pl.Series) -> pl.Series:
    """00:00 UTC of dates, as ns."""
    try:
        days = dates.str.to_date("%Y-%m-%d") if dates.dtype == pl.String else dates.cast(pl.Date)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path}: column date: expected dates such as 2026-01-05") from error
    _refuse(path, "date", days.is_null().to_numpy(), "a date such as 2026-01-05")
    return days.cast(pl.Int64) * 86_400_000_000_000


def read_facts(path: Path) -> dict[str, Any]:
    """Reference data in long form: symbol, name, value and ts_ns (0 = always known).

    The file is long (symbol, name, value[, ts_ns]) or wide (symbol[, ts_ns], one column per fact). Dates
    and times become nanoseconds: earnings -> earnings_ns, news -> news_ns.
    """
    table = _read(path)
    if "symbol" not in table.columns:
        raise TableError(f"{path}: column symbol is missing; found {', '.join(table.columns)}")
    if table.height == 0:
        raise TableError(f"{path}: holds no facts")
    if not {"name", "value"} <= set(table.columns):
        facts = [name for name in table.columns if name not in ("symbol", "ts_ns")]
        if not facts:
            raise TableError(f"{path}: expected name and value, or one column per fact")
        keys = [name for name in ("symbol", "ts_ns") if name in table.columns]
        parts = [
            table.select(
                *keys, pl.lit(_fact_name(name)).alias("name"), _fact_value(path, table, name)
            )
            for name in facts
        ]
        table = pl.concat(parts)
    table = table.drop_nulls("value")
    when = np.zeros(table.height)
    if "ts_ns" in table.columns:
        told = table.select(pl.col("ts_ns").fill_null(0))  # no time: known always
        when = _cast(path, told, "ts_ns", pl.Int64).to_numpy()
    return {
        "symbol": _cast(path, table, "symbol", pl.String).to_list(),
        "name": [_fact_name(name) for name in _cast(path, table, "name", pl.String).to_list()],
        "value": _cast(path, table, "value", pl.Float64).to_numpy(),
        "ts_ns": when.astype(np.int64),
    }


def _fact_name(name: str) -> str:
    for kind in ("earnings", "news"):
        if name in (
            kind,
            f"{kind}_date",
            f"{kind}_time",
            f"{kind}_ts_ns",
            f"next_{kind}",
            f"last_{kind}",
        ):
            return f"{kind}_ns"
    return name


def _fact_value(path: Path, table: pl.DataFrame, name: str) -> pl.Series:
    values = table[name]
    try:
        if values.dtype == pl.String and _fact_name(name).endswith("_ns"):
            values = values.str.to_datetime(time_unit="ns", strict=True)
        if values.dtype.is_temporal():
            values = values.cast(pl.Datetime("ns")).cast(pl.Int64)
        return values.cast(pl.Float64).alias("value")
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"{path}: column {name}: expected numbers or times: {reason}") from error
