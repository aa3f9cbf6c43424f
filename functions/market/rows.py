"""Columns as a database takes them: times, dates, and null for what is absent."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.toordinal()


def times(ts_ns: Array) -> list[datetime]:
    """Times in UTC from ns; what is finer than a microsecond is cut off."""
    unique, places = np.unique(ts_ns, return_inverse=True)
    made = [EPOCH + timedelta(microseconds=ns // 1000) for ns in unique.tolist()]
    return [made[place] for place in places.reshape(-1).tolist()]


def dates(ts_ns: Array) -> list[date]:
    """The dates, in UTC, of times in ns."""
    days = ts_ns.astype("datetime64[ns]").astype("datetime64[D]").astype(int)
    return [date.fromordinal(EPOCH_DAY + day) for day in days.tolist()]


def days_in(ts_ns: Array) -> list[datetime]:
    """The midnights, in UTC, of the dates that occur among times in ns."""
    days = np.unique(ts_ns.astype("datetime64[ns]").astype("datetime64[D]").astype(int))
    return [EPOCH + timedelta(days=day) for day in days.tolist()]


def known(values: Array) -> list[Any]:
    """A column with None where a number is not finite and where a text is empty."""
    if values.dtype.kind == "f":
        absent = ~np.isfinite(values)
        values = values.astype(object)
        values[absent] = None
    elif values.dtype.kind == "O":
        return [value or None for value in values]
    return list(values.tolist())
