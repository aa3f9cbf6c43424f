"""Where one source of trades ends and another goes on, so that no print is lost there and none comes twice.

    two connections to one feed     by what trades say (see `providers.seen`): of the last REACH_NS that were
                                    published, and of all later ones, those that were not
    and it numbers without holes    by number: past the newest that was published, whatever the times; a
                                    number that is missing before the first one is a gap of its symbol
    two vendors                     by time: what is later than the newest event that was published

Two sources of one address that have no trade of those REACH_NS in common are two vendors: another
host may be another exchange. A seam by trades is looked at until its source has passed it by REACH_NS:
one that is behind sends later what was published before.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from runtime.frames import Array
from runtime.providers import SECOND_NS, Batch, Provider, of_rows
from runtime.providers.seen import REACH_NS, Key, Seen, is_numbered, is_unseen, keys_of
from runtime.providers.sequences import CONTIGUOUS
from runtime.silences import Places

HELD_NS = 15 * SECOND_NS  # of what a standby sends that is held
GROWS_BY = 1024
NEVER = np.iinfo(np.int64).max


def feed_of(provider: Provider) -> str:
    """The feed that a provider is a connection to, by its address; empty: it says none."""
    universe = getattr(provider, "universe", None)
    return "" if universe is None else str(universe.source).partition("#")[0]


class Published:
    """The newest trades that were published of one feed."""

    def __init__(self, places: Places, is_contiguous: bool) -> None:
        self.places, self.is_contiguous = places, is_contiguous
        self.seen = Seen(HELD_NS + REACH_NS)
        self._numbers = np.zeros(0, dtype=np.int64)

    def note(self, batch: Batch) -> None:
        """Events of the feed are published."""
        if not is_numbered(batch) or batch.index is None:
            return
        self.seen.note(batch)
        if self.is_contiguous:
            at = self.places.of(batch.symbols)[batch.index]
            np.maximum.at(self.numbers(), at, batch.columns["id"])

    def numbers(self) -> Array:
        """The newest number of each symbol, by its place; 0: none."""
        lacking = len(self.places.symbols) - len(self._numbers)
        if lacking > 0:
            more = np.zeros(lacking + GROWS_BY, dtype=np.int64)
            self._numbers = np.concatenate([self._numbers, more])
        return self._numbers


def published_by(providers: list[Provider], places: Places) -> list[Published | None]:
    """What is published of the feed of each provider; None of a feed that no other one is a connection to."""
    feeds = [feed_of(one) for one in providers]
    found = {
        feed: Published(places, providers[feeds.index(feed)].name in CONTIGUOUS)
        for feed in feeds
        if feed and feeds.count(feed) > 1
    }
    return [found.get(one) for one in feeds]


class Seam:
    """Where a source goes on.

    after_ns   the newest event that was published, by the place of its symbol
    is_one     whether that came from the same feed, by place as well
    published  what was published of that feed
    until_ns   of the source: then all that was published before has passed
    """

    def __init__(
        self,
        places: Places,
        after_ns: Array,
        is_one: Array,
        published: Published | None,
        until_ns: int = 0,
    ) -> None:
        self._places, self.until_ns = places, until_ns
        self._after_ns = np.append(after_ns, 0)  # the last is of all symbols that are new
        self._is_one = np.append(is_one & (published is not None), False)
        self._keys: set[Key] = set()
        self._numbers: Array | None = None
        if published is not None and self._is_one.any():
            recent = (self._recent(one) for one in published.seen.batches)
            self._keys = {key for one in recent if one is not None for key in keys_of(one)}
            if published.is_contiguous:
                self._numbers = np.resize(published.numbers(), len(self._after_ns))
                self._numbers[len(published.numbers()) :] = 0

    def held(self, batches: Iterable[Batch]) -> list[Batch]:
        """What was not published of what the source sent before."""
        held = list(batches)
        near = [part for one in held if (part := self._near(one)) is not None]
        if near and all(is_unseen(one, self._keys).all() for one in near):
            self._is_one[:] = False  # two feeds after all
        return [part for one in held if (part := self._kept(one, is_held=True)) is not None]

    def passing(self, batch: Batch) -> Batch | None:
        """The same of what it sends from then on, where only what surely was published is left out."""
        return self._kept(batch, is_held=False)

    def joins(self, held: list[Batch]) -> tuple[Array, Array]:
        """By place: the time of the first trade that is held; 1: it follows, 0: not, -1: numbers tell nothing."""
        first_ns = np.zeros(len(self._after_ns), dtype=np.int64)
        joins = np.full(len(self._after_ns), -1, dtype=np.int64)
        if self._numbers is None:
            return first_ns, joins
        first = np.full(len(self._after_ns), NEVER)
        for batch in filter(is_numbered, held):
            at, number = self._at(batch), batch.columns["id"]
            is_first = number < first[at]
            np.minimum.at(first, at, number)
            is_first &= number == first[at]
            first_ns[at[is_first]] = batch.times[is_first]
        told = self._is_one & (first < NEVER) & (self._numbers > 0)
        joins[told] = (first <= self._numbers + 1)[told]
        return first_ns, joins

    def _kept(self, batch: Batch, is_held: bool) -> Batch | None:
        at, times = self._at(batch), batch.times
        is_later, is_one = times > self._after_ns[at], self._is_one[at]
        if not is_numbered(batch) or not is_one.any():
            return of_rows(batch, is_later) if is_held else batch
        is_recent = times > self._after_ns[at] - REACH_NS
        is_new = is_recent.copy()
        part = of_rows(batch, is_recent & is_one)
        if part is not None:
            is_new[is_recent & is_one] = is_unseen(part, self._keys)
        if self._numbers is not None:
            is_new |= ~is_recent & (batch.columns["id"] > self._numbers[at])
        elif not is_held:
            is_new |= ~is_recent  # late, or stamped so: twice is better than not at all
        return of_rows(batch, np.where(is_one, is_new, is_later | (not is_held)))

    def _recent(self, batch: Batch) -> Batch | None:
        """Trades of the same feed of shortly before the seam, or past it."""
        at = self._at(batch)
        return of_rows(batch, self._is_one[at] & (batch.times > self._after_ns[at] - REACH_NS))

    def _near(self, batch: Batch) -> Batch | None:
        """Trades of before the seam, of which the other source should have had some."""
        if not is_numbered(batch):
            return None
        recent = self._recent(batch)
        if recent is None:
            return None
        return of_rows(recent, recent.times <= self._after_ns[self._at(recent)])

    def _at(self, batch: Batch) -> Array:
        at = self._places.of(batch.symbols)[batch.index]
        return np.minimum(at, len(self._after_ns) - 1)
