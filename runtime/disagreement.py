"""How far sources of the same market disagree, as metrics: an operator sees a source go wrong before it is needed.

Of each source against the one that is published, measured once a second of event time:

    jetscan_feed_price_disagreement   of the symbols that both printed within RECENT_NS of the newest
                                      event, the share whose last prices differ by more than PRICE_SHARE
    jetscan_feed_volume_ratio         what the source's prints of the last whole minute add up to, over
                                      what those of the published one do

A symbol of one source alone is in neither; without symbols of both there is no value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime import telemetry
from runtime.frames import Array
from runtime.providers import SECOND_NS, Batch
from runtime.silences import Places

RECENT_NS = 5 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS
PRICE_SHARE = 0.001
GROWS_BY = 1024


class Prints:
    """The last prices of one source, and its volume by minute."""

    def __init__(self) -> None:
        self.newest_ns = 0
        self.price = np.zeros(0)
        self.ts_ns = np.zeros(0, dtype=np.int64)
        self.minute = 0
        self.volume = self.volume_before = 0.0  # of the minute, and of the one before it

    def add(self, places: Array, batch: Batch) -> None:
        """Trades of some symbols; of one that comes twice the later counts."""
        most = int(places.max()) + 1
        if most > len(self.price):
            more = most - len(self.price) + GROWS_BY
            self.price = np.concatenate([self.price, np.zeros(more)])
            self.ts_ns = np.concatenate([self.ts_ns, np.zeros(more, dtype=np.int64)])
        self.price[places] = batch.columns["price"]
        self.ts_ns[places] = batch.columns["ts_ns"]
        self.newest_ns = max(self.newest_ns, batch.newest_ns)
        minute = batch.newest_ns // MINUTE_NS
        if minute > self.minute:
            follows = minute == self.minute + 1
            self.volume_before = self.volume if follows else 0.0
            self.minute, self.volume = minute, 0.0
        self.volume += float(batch.columns["size"].sum())


class Disagreement:
    """The sources of one feed, side by side."""

    def __init__(self, names: Sequence[str], places: Places) -> None:
        self._names = [
            f"{name}#{names[:place].count(name) + 1}" if name in names[:place] else name
            for place, name in enumerate(names)
        ]
        self._prints = [Prints() for _ in names]
        self._places = places
        self._second = 0

    def hear(self, source: int, batch: Batch) -> None:
        """What a source sent; anything but trades says nothing."""
        if batch.kind == "trades" and batch.index is not None and len(batch):
            self._prints[source].add(self._places.of(batch.symbols)[batch.index], batch)

    def measure(self, active: int) -> None:
        """Set the metrics, once a second of the active source's event time."""
        newest_ns = self._prints[active].newest_ns
        if newest_ns // SECOND_NS == self._second:
            return
        self._second = newest_ns // SECOND_NS
        for source, name in enumerate(self._names):
            if source == active:
                continue
            share = self.price_share(active, source, newest_ns)
            ratio = self.volume_ratio(active, source)
            labels = name, self._names[active]
            for gauge, value in (
                (telemetry.FEED_PRICE_DISAGREEMENT, share),
                (telemetry.FEED_VOLUME_RATIO, ratio),
            ):
                if value is not None:
                    gauge.labels(*labels).set(value)

    def price_share(self, active: int, other: int, newest_ns: int) -> float | None:
        """Of symbols that both printed lately, the share whose prices differ; None without any."""
        one, two = self._prints[active], self._prints[other]
        count = min(len(one.price), len(two.price))
        least_ns = newest_ns - RECENT_NS
        both = (one.ts_ns[:count] > least_ns) & (two.ts_ns[:count] > least_ns)
        if not both.any():
            return None
        paid, said = one.price[:count][both], two.price[:count][both]
        return float((np.abs(said - paid) > PRICE_SHARE * paid).mean())

    def volume_ratio(self, active: int, other: int) -> float | None:
        """Volume of the last whole minute of one source over the other's; None where they are not in one minute."""
        one, two = self._prints[active], self._prints[other]
        if one.minute != two.minute or not one.volume_before:
            return None
        return two.volume_before / one.volume_before
