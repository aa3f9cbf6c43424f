"""A vendor's numbers as ours: prices, sizes and times, or the reason why they are none. Pure.

Vendors write a missing value as nothing, as NaN, or as the largest integer that fits; sizes as whole
shares beside a decimal text; times in seconds to nanoseconds under one name, as RFC 3339 or as
msgpack's timestamp.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgpack

DAY_NS = 86_400_000_000_000
I64_MAX, U32_MAX, U64_MAX = 2**63 - 1, 2**32 - 1, 2**64 - 1
NONE_IN_DBN = frozenset((I64_MAX, U64_MAX))  # UNDEF_PRICE and UNDEF_TIMESTAMP of Databento
PRICE_BELOW = 9.2e9  # above any price; i64::MAX in units of 1e-9 is 9.22e9
# A time below the bound is in units of so many ns: ten digits are seconds, thirteen ms, sixteen us.
UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3), (10**20, 1))
RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class BadNumber(ValueError):
    """A value that is refused; the text says what was expected and what was found."""


def price_of(value: Any, unit: float = 1.0) -> float:
    """A price above 0 as f8; `value` in units of `unit` (1e-9 in DBN). Raises BadNumber."""
    price = _number("price", value) * Decimal(str(unit))
    if not 0 < price < Decimal(PRICE_BELOW):
        raise BadNumber(f"price: expected above 0 and below {PRICE_BELOW:.0f}, found {value!r}")
    return float(price)


def size_of(value: Any, text: str | None = None) -> float:
    """Shares or coins from 0 as f8, fractions kept. Raises BadNumber.

    text  the size as decimal text where the vendor sends one (Massive's `ds`): it counts, because the
          whole number beside it is cut off, to 0 for less than one share
    """
    size = _number("size", value if text is None else text)
    if size < 0 or size == U32_MAX:
        raise BadNumber(f"size: expected from 0, and not 2^32 - 1 (none in DBN), found {value!r}")
    return float(size)


def _number(name: str, value: Any) -> Decimal:
    """A finite number, exactly as written; a float is taken at its shortest decimal."""
    if value is None:
        raise BadNumber(f"{name}: expected a number, found nothing")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadNumber(f"{name}: expected a number, found {value!r}")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation as error:
        raise BadNumber(f"{name}: expected a number, found {value!r}") from error
    if not number.is_finite():
        raise BadNumber(f"{name}: expected a finite number, found {value!r}")
    if number in NONE_IN_DBN:
        raise BadNumber(f"{name}: expected a value, found {value} (none in DBN)")
    return number


def ns_of(value: Any, near_ns: int) -> int:
    """A time in whichever form a vendor sends it, as ns since 1970. Raises BadNumber.

    value    a number of s, ms, us or ns told apart by magnitude, an RFC 3339 text or a msgpack timestamp
    near_ns  the feed's clock; a time more than a day away is refused, as a wrong unit would be
    """
    if isinstance(value, msgpack.Timestamp):
        ts_ns = int(value.to_unix_nano())
    elif isinstance(value, str) and not value.strip().isdigit():
        ts_ns = ns_of_text(value)
    else:
        ts_ns = _ns_by_magnitude(_number("time", value))
    if abs(ts_ns - near_ns) > DAY_NS:
        away_s = (ts_ns - near_ns) / 1e9
        raise BadNumber(
            f"time: expected within a day of {near_ns} ns, found {value!r}, {away_s:.0f} s away"
        )
    return ts_ns


def _ns_by_magnitude(number: Decimal) -> int:
    for below, unit_ns in UNITS:
        if 0 < number < below:
            return int(number * unit_ns)
    raise BadNumber(f"time: expected s, ms, us or ns since 1970, found {number}")


def ns_of_text(text: str) -> int:
    """An RFC 3339 time with none to nine digits of a second, as ns since 1970. Raises BadNumber."""
    found = RFC3339.fullmatch(text.strip())
    if found is None:
        raise BadNumber(
            f"time: expected RFC 3339 such as 2026-01-05T14:30:00.123456789Z, found {text!r}"
        )
    day, clock, digits, zone = found.groups()
    offset = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadNumber(f"time: {text!r}: {error}") from error
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + int((digits or "").ljust(9, "0"))
