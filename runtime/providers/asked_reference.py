"""What vendors know of symbols beside their ticks, as rows of the tables of `runtime.reference`.

A vendor is a function per table: pages of rows, each row a mapping of the table's columns. A row that
cannot be what it says is left out and told, it costs only itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import httpx
import msgspec

from runtime.providers import ProviderError
from runtime.providers.rest import Refused, answer
from runtime.providers.symbols import is_test, normal

Row = dict[str, Any]
PAGES_MAX = 10_000
FORBIDDEN = (401, 403)
REFUSED_SHOWN = 20

Record = TypeVar("Record")


@dataclass(frozen=True)
class Wish:
    """What is asked for: days from `since` up to and including `until`; no symbols are all the vendor has."""

    since: date
    until: date
    asked: tuple[str, ...] = ()  # symbols as the vendor spells them

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The symbols in our spelling."""
        return tuple(normal(one) for one in self.asked)

    @cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(self.symbols)

    def wants(self, row: Row) -> bool:
        """Whether a row is of a symbol that was asked for; of a rename either may be."""
        return not self.asked or not self._wanted.isdisjoint(
            {row["symbol"], row.get("new_symbol", "")}
        )

    def days(self) -> Iterator[date]:
        """Every day of it."""
        for number in range((self.until - self.since).days + 1):
            yield self.since + timedelta(number)

    def parts(self, size: int) -> Iterator[tuple[str, ...]]:
        """The symbols, so many at a time; one empty part where all are asked for."""
        for begin in range(0, max(len(self.asked), 1), size):
            yield self.asked[begin : begin + size]


@dataclass
class Page:
    """Rows of one answer, and why others were left out."""

    rows: list[Row] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


Pages = Callable[[Wish], Iterator[Page]]
Sessions = Callable[
    [date, date], dict[date, str]
]  # days of trading with the close, HH:MM in New York


@dataclass(frozen=True)
class Vendor:
    """Where reference data comes from: a function per table that it has."""

    name: str
    tables: Mapping[str, Pages]
    needs_symbols: Sequence[str] = ()  # tables that are asked for symbol by symbol
    zone: str = "America/New_York"  # where its days end
    sessions: Sessions | None = None


class NotToBeHad(ProviderError):
    """The vendor does not give it for these keys, or not as it was asked for: asking again is no use."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def paged(
    client: httpx.Client,
    vendor: str,
    path: str,
    asked: Mapping[str, str],
    following: Callable[[Any], Mapping[str, str] | None],
) -> Iterator[Any]:
    """Decoded answers, page by page; `following` makes of one what the next is asked with. Raises ProviderError."""
    for _ in range(PAGES_MAX):
        decoded = decoded_answer(client, vendor, path, asked)
        yield decoded
        told = following(decoded)
        if not told:
            return
        asked = {**asked, **told}
    raise ProviderError(f"{vendor}: {path}: more than {PAGES_MAX} pages")


def decoded_answer(client: httpx.Client, vendor: str, path: str, asked: Mapping[str, str]) -> Any:
    """One answer. Raises NotToBeHad where the keys do not reach, ProviderError otherwise."""
    try:
        body = answer(client, vendor, path, asked)
    except Refused as error:
        if error.is_final:
            raise NotToBeHad(str(error), error.status) from error
        raise
    except httpx.InvalidURL as error:
        raise ProviderError(f"{vendor}: {path}: {error}") from error
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderError(f"{vendor}: {path}: not JSON: {error}") from error


def of_each(symbols: Iterable[str], page: Callable[[str], Page]) -> Iterator[Page]:
    """A page for each symbol; one that the vendor does not know costs itself. Raises ProviderError."""
    for symbol in symbols:
        try:
            yield page(symbol)
        except NotToBeHad as error:
            if error.status in FORBIDDEN:  # no other symbol would be answered
                raise
            yield Page(refused=[f"{symbol}: {error}"])


def page_of(
    records: Any, kind: type[Record], row_of: Callable[[Record], Row | None], wish: Wish
) -> Page:
    """Records as rows: what is of another symbol or of a test symbol is left out silently, what is broken with its reason.

    Raises ProviderError where there are no records, but something else.
    """
    page = Page()
    if records is None:
        return page
    if not isinstance(records, list):
        raise ProviderError(f"expected a list of records, found {type(records).__name__}")
    for record in records:
        try:
            row = row_of(msgspec.convert(record, kind))
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            page.refused.append(f"{error}: {str(record)[:200]}")
            continue
        if row is None:
            continue
        for name in ("symbol", "new_symbol"):
            if name in row:
                row[name] = normal(row[name])
        if not is_test(row["symbol"]) and wish.wants(row):
            page.rows.append(row)
    return page


def once_for_each(records: object, name: str) -> object:
    """Records once for each symbol that a column of theirs lists, as `symbol`; what are none stay as they are."""
    if not isinstance(records, list):
        return records
    return [
        {**one, "symbol": symbol}
        for one in records
        for symbol in (one.get(name) or () if isinstance(one, dict) else ())
    ]


# -- values


def day_of(text: str) -> date:
    """A date of `2026-01-05`, or of a time that begins with one."""
    return date.fromisoformat(text[:10])


def time_of(text: str) -> datetime:
    """A time in ISO 8601; without an offset it is UTC."""
    told = datetime.fromisoformat(text)
    return told if told.tzinfo else told.replace(tzinfo=UTC)


REGULAR_CLOSE = "16:00"


def midnight(day: date) -> datetime:
    """00:00 UTC of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def factor_of(before: float, after: float) -> float:
    """What a split that makes `after` shares of `before` multiplies prices with; raises ValueError."""
    if not (before > 0 and after > 0 and math.isfinite(before) and math.isfinite(after)):
        raise ValueError(f"expected shares above 0, found {before} for {after}")
    return before / after


def bar(symbol: str, day: date, prices: Sequence[float], volume: float) -> Row:
    """A daily bar of open, high, low, close; raises ValueError for what cannot have traded."""
    opened, high, low, close = prices
    if not all(0 < one < math.inf for one in prices) or high < low or not 0 <= volume < math.inf:
        raise ValueError(
            f"expected prices above 0, a high not below the low and a volume from 0, found {prices}, {volume}"
        )
    return {
        "symbol": symbol,
        "day": day,
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
    }
