"""What is known of symbols beside their bars: name and exchange, from the reference tables where they are loaded."""

from __future__ import annotations

import time
from collections.abc import Mapping

from runtime import telemetry
from runtime.store import Outage, Store, StoreError

log = telemetry.get_logger(__name__)

KEPT_S = 60.0  # reference data changes once a day
SYMBOLS_MAX = 200_000  # every listed instrument of a continent
# Of all who ever had a symbol, the newest.
LISTED = """
SELECT DISTINCT ON (symbol) symbol, name, exchange FROM symbols ORDER BY symbol, active_from DESC LIMIT $1
"""

Named = Mapping[str, tuple[str | None, str | None]]


class Listing:
    """Symbol -> (name, exchange), read anew now and then; empty where nothing is loaded."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._named: Named = {}
        self._read_at = -KEPT_S

    async def named(self) -> Named:
        """What the table says, at most a minute old; of before while the database is away."""
        now = time.monotonic()
        if self._store is not None and now - self._read_at >= KEPT_S:
            self._read_at = (
                now  # others do not read beside, and an outage is not asked at every request
            )
            try:
                rows = await self._store.fetch(LISTED, SYMBOLS_MAX)
                self._named = {row["symbol"]: (row["name"], row["exchange"]) for row in rows}
            except (Outage, StoreError) as error:  # the table may not be there: nothing is loaded
                log.info("no names of symbols", reason=str(error))
        return self._named
