"""Trades of a past time from Massive's REST: what a connection missed. Source: Massive, REST, stocks, trades.

The websocket tells times in ms, REST in ns. What is asked begins and ends with whole ms, and times are
cut to ms, so that a trade which both told is the same print, which functions leave out by its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import httpx
import msgspec

from runtime.providers import Batch, ProviderError
from runtime.providers.live import tell_refusals
from runtime.providers.massive_messages import MassiveParser, Trade
from runtime.providers.messages import Parsed
from runtime.providers.rest import TIMEOUT_S, answer

HOST = "https://api.massive.com"
PAGE_ROWS = 50_000
PAGES_MAX = 1_000
SYMBOLS_MAX = 1_000  # each is a request of its own
MS_NS = 1_000_000
# Of the tapes' corrections: later corrected, error, cancelled, and the records that say so.
TAKEN_BACK = frozenset((1, 7, 8, 10, 11))


class _Trade(msgspec.Struct):
    price: float
    sip_timestamp: int
    size: float = 0.0
    decimal_size: str | None = None
    id: str | int = 0
    exchange: int = 0
    tape: int = 0
    conditions: list[int] | None = None
    sequence_number: int = 0
    correction: int = 0


class _Page(msgspec.Struct):
    results: list[msgspec.Raw] | None = None
    next_url: str | None = None


def missed(
    parser: MassiveParser,
    symbols: Sequence[str],
    from_ns: int,
    to_ns: int,
    key: str,
    host: str = HOST,
) -> Iterator[Batch]:
    """Trades between two times, symbol by symbol, in pages; raises ProviderError."""
    if len(symbols) > SYMBOLS_MAX:
        raise ProviderError(
            f"massive: what {len(symbols)} symbols missed is not asked for: more than {SYMBOLS_MAX}"
        )
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=host, headers=headers, timeout=TIMEOUT_S) as client:
        for symbol in symbols:
            asked = {
                "timestamp.gte": str(from_ns // MS_NS * MS_NS),
                "timestamp.lt": str((to_ns // MS_NS + 1) * MS_NS),
                "order": "asc",
                "sort": "timestamp",
                "limit": str(PAGE_ROWS),
            }
            yield from _pages(client, symbol, asked, parser)


def _pages(
    client: httpx.Client, symbol: str, asked: dict[str, str], parser: MassiveParser
) -> Iterator[Batch]:
    path = f"/v3/trades/{symbol}"
    for _ in range(PAGES_MAX):
        parsed, following = trades_of(answer(client, "massive", path, asked), symbol, parser)
        tell_refusals("massive", parsed)
        yield from parsed.batches
        if not following:
            return
        # Only what it asks, never where: the key goes with it.
        asked = dict(httpx.URL(following).params)
    raise ProviderError(f"massive: more than {PAGES_MAX} pages of trades of {symbol}")


def trades_of(data: bytes, symbol: str, parser: MassiveParser) -> tuple[Parsed, str | None]:
    """(the trades of a page, the address of the next one); those that were taken back are left out."""
    parsed = Parsed()
    try:
        page = msgspec.json.decode(data, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderError(f"massive: trades: not a page: {error}") from error
    records = []
    for raw in page.results or ():
        try:
            one = msgspec.json.decode(raw, type=_Trade)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            parsed.refuse(f"trade: {error}")
            continue
        if one.correction not in TAKEN_BACK:
            records.append(_as_told_live(one, symbol))
    parser.add_trades(records, parsed)
    return parsed, page.next_url


def _as_told_live(one: _Trade, symbol: str) -> Trade:
    return Trade(
        sym=symbol,
        p=one.price,
        s=one.size,
        t=one.sip_timestamp // MS_NS,
        i=one.id,
        x=one.exchange,
        z=one.tape,
        ds=one.decimal_size,
        c=one.conditions,
        q=one.sequence_number,
    )
