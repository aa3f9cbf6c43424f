"""Trades of a past time from Alpaca's REST: what a connection missed. Source: Alpaca, historical stock trades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec

from runtime.providers import Batch, ProviderError
from runtime.providers.alpaca_messages import AlpacaParser, Trade
from runtime.providers.live import tell_refusals
from runtime.providers.messages import Parsed
from runtime.providers.rest import TIMEOUT_S, answer

HOST = "https://data.alpaca.markets"
PAGE_ROWS = 10_000
PAGES_MAX = 10_000
SYMBOLS_A_REQUEST = 200  # what an address may be long
TAKEN_BACK = ("canceled", "incorrect")


class _Page(msgspec.Struct):
    trades: dict[str, list[dict[str, Any]]] | None = None
    next_page_token: str | None = None


def missed(
    parser: AlpacaParser,
    symbols: Sequence[str],
    feed: str,
    from_ns: int,
    to_ns: int,
    headers: dict[str, str],
    host: str = HOST,
) -> Iterator[Batch]:
    """Trades after one time and before another, in pages; raises ProviderError."""
    with httpx.Client(base_url=host, headers=headers, timeout=TIMEOUT_S) as client:
        for begin in range(0, len(symbols), SYMBOLS_A_REQUEST):
            part = symbols[begin : begin + SYMBOLS_A_REQUEST]
            asked = {
                "symbols": ",".join(part),
                "start": _text(from_ns + 1),
                "end": _text(to_ns - 1),
                "feed": feed,
                "limit": str(PAGE_ROWS),
                "sort": "asc",
            }
            yield from _pages(client, asked, parser)


def _pages(client: httpx.Client, asked: dict[str, str], parser: AlpacaParser) -> Iterator[Batch]:
    for _ in range(PAGES_MAX):
        data = answer(client, "alpaca", "/v2/stocks/trades", asked)
        parsed, token = trades_of(data, parser)
        tell_refusals("alpaca", parsed)
        yield from parsed.batches
        if not token:
            return
        asked = {**asked, "page_token": token}
    raise ProviderError(f"alpaca: more than {PAGES_MAX} pages of trades")


def trades_of(data: bytes, parser: AlpacaParser) -> tuple[Parsed, str | None]:
    """(the trades of a page, the token of the next one); those that were taken back are left out."""
    parsed = Parsed()
    try:
        page = msgspec.json.decode(data, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderError(f"alpaca: trades: not a page: {error}") from error
    records = []
    for symbol, trades in (page.trades or {}).items():
        for one in trades:
            if one.get("u") in TAKEN_BACK:
                continue
            try:
                records.append(msgspec.convert({**one, "S": symbol, "T": "t"}, Trade))
            except msgspec.ValidationError as error:
                parsed.refuse(f"t: {error}")
    parser.add_trades(records, parsed)
    return parsed, page.next_page_token


def _text(ts_ns: int) -> str:
    seconds, nanos = divmod(ts_ns, 10**9)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{nanos:09d}Z"
