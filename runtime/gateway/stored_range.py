"""Which bars are stored: how many in a range, and the newest trading days that have any."""

from __future__ import annotations

from runtime.gateway.queries import moment
from runtime.gateway.trading_days import Day
from runtime.store import Store

BARS_MAX = 10_000_000  # of one run: two long days of 10,000 symbols, 3 GB while it runs

COUNTED = """
SELECT count(*) AS bars FROM (
    SELECT FROM bars_1m WHERE timestamp >= $1 AND timestamp < $2 AND ($3::text[] IS NULL OR symbol = ANY ($3))
    LIMIT $4
) AS found
"""
HAVING_BARS = """
SELECT place FROM unnest($1::timestamptz[], $2::timestamptz[]) WITH ORDINALITY AS day (begins, ends, place)
WHERE EXISTS (SELECT FROM bars_1m WHERE timestamp >= day.begins AND timestamp < day.ends)
ORDER BY place DESC LIMIT $3
"""


async def is_too_large(store: Store, from_ns: int, to_ns: int, symbols: list[str]) -> bool:
    """Whether a range holds more bars than one run may take. Raises Outage."""
    some = symbols or None
    rows = await store.fetch(COUNTED, moment(from_ns), moment(to_ns), some, BARS_MAX + 1)
    return bool(rows[0]["bars"] > BARS_MAX)


async def newest_days(store: Store, days: list[Day], most: int) -> list[Day]:
    """Those of some trading days that have bars, the newest `most`, oldest first. Raises Outage."""
    begins, ends = ([moment(getattr(one, at)) for one in days] for at in ("start_ns", "end_ns"))
    rows = await store.fetch(HAVING_BARS, begins, ends, most)
    return [days[row["place"] - 1] for row in reversed(rows)]
