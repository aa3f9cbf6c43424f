"""The symbols of one feed: what is wished, what the vendor acknowledged, what it refused. Asked for by one thread, followed by another.

    wanted        the URL's symbols and those added since, without those removed, in that order
    acknowledged  of these, what the vendor says it sends
    refused       of these, what it does not, with its reason
    unanswered    of these, the others
    left          what is not followed any more: what still comes of it is left out here

With `*` everything is followed: adding changes nothing, and what is removed is left out here alone.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from runtime import telemetry
from runtime.frames import Array
from runtime.providers import Batch
from runtime.providers.symbols import normal

log = telemetry.get_logger(__name__)

ALL = "*"
SHARES = (
    r"[A-Z]{1,5}(?:\.[A-Z]{1,3}(?:\.[A-Z])?)?"  # of the United States, as they are spelled here
)
NAMED_MAX = 5  # symbols in a line of the log
STATES = ("wanted", "acknowledged", "refused")


class Universe:
    """What a feed follows.

    source      the feed: its URL without parameters
    pattern     what symbols it can carry, as a regular expression; others are not asked of it
    most        how many at most, where the vendor says so
    removes     whether the vendor can be told to send a symbol no more while it is connected
    spelled     its URL's spelling of a symbol as the one used here
    """

    def __init__(
        self,
        source: str,
        symbols: Iterable[str],
        pattern: str,
        *,
        most: int | None = None,
        removes: bool = True,
        spelled: Callable[[str], str] = normal,
    ) -> None:
        self.source, self.pattern, self.removes, self.spelled = source, pattern, removes, spelled
        self.most = most
        self.limited_by = f"at most {most} symbols of a connection"
        self.revision = 0  # of the wish
        self._vendors = {spelled(one): one for one in symbols}
        self._wanted = dict.fromkeys(self._vendors)
        self._left: frozenset[str] = frozenset()
        self._acknowledged: set[str] = set()
        self._refused: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._places: tuple[list[str], int, frozenset[str], Array] | None = None
        self._lock = threading.RLock()

    # -- the wish

    def ask(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Follow the URL's symbols and those added that it can carry, without those removed."""
        with self._lock:
            gone = frozenset(removed)
            carried = (one for one in added if self.carries(one))
            wanted = dict.fromkeys(one for one in (*self._vendors, *carried) if one not in gone)
            left = (self._left | self._wanted.keys() | gone) - wanted.keys()
            if (list(wanted), left) == (list(self._wanted), self._left):
                return
            self._wanted, self._left = wanted, left
            self._refused = {k: v for k, v in self._refused.items() if k in wanted}
            self.revision += 1
            self._measure()

    def carries(self, symbol: str) -> bool:
        """Whether a symbol can be one of this feed."""
        return re.fullmatch(self.pattern, symbol) is not None

    def target(self) -> list[str]:
        """What is to be asked of the vendor: `*`, or every symbol."""
        with self._lock:
            return [ALL] if ALL in self._wanted else list(self._wanted)

    def vendors(self, symbol: str) -> str:
        """The vendor's spelling of a symbol: that of the URL, where it stands there."""
        return self._vendors.get(symbol, symbol)

    def follows(self, symbol: str) -> bool:
        """Whether what comes of a symbol is wanted."""
        return symbol not in self._left

    def listed(self, heard: Iterable[str]) -> list[str]:
        """Each symbol that is followed by its name, in the vendor's spelling; with `*`, of those heard of."""
        target = self.target()
        return [
            self.vendors(one) for one in (heard if ALL in target else target) if self.follows(one)
        ]

    @property
    def is_expecting(self) -> bool:
        """Whether anything can come: silence of a feed of which nothing is wanted is none."""
        return any(one not in self._refused for one in self.target())

    def sift(self, batch: Batch) -> Batch | None:
        """The events of symbols that are followed; None where there are none."""
        left = self._left
        if not left or batch.index is None:
            return batch
        keep = self._kept(batch.symbols, left)[batch.index]
        if keep.all():
            return batch
        if not keep.any():
            return None
        columns = {name: values[keep] for name, values in batch.columns.items()}
        at_ns = None if batch.at_ns is None else batch.at_ns[keep]
        return Batch(batch.kind, columns, batch.symbols, batch.index[keep], at_ns)

    def _kept(self, symbols: list[str], left: frozenset[str]) -> Array:
        """Of each symbol of a table whether it is followed; made once per table, size and wish."""
        known = self._places
        if known is None or known[0] is not symbols or known[1:3] != (len(symbols), left):
            kept = np.array([one not in left for one in symbols], dtype=bool)
            known = self._places = symbols, len(symbols), left, kept
        return known[3]

    # -- what the vendor says

    def begin(self) -> None:
        """A new connection: nothing has been answered."""
        with self._lock:
            self._acknowledged.clear()
            self._refused.clear()
            self._measure()

    def limit(self, most: int, reason: str) -> None:
        """The vendor sends no more symbols than these; known until the process ends."""
        self.most, self.limited_by = most, reason

    def end(self, symbols: Iterable[str]) -> None:
        """The vendor is told to send these no more."""
        with self._lock:
            self._acknowledged.difference_update(symbols)
            self._measure()

    def acknowledge(self, symbols: Iterable[str]) -> None:
        """The vendor says that it sends these."""
        with self._lock:
            self._acknowledged.update(symbols)
            self.forgive(self._acknowledged & self._refused.keys())
            self._measure()

    def refuse(self, symbols: Iterable[str], reason: str) -> None:
        """The vendor does not send these; said aloud once, because rules on them would wait for ever."""
        with self._lock:
            refused = [one for one in symbols if one in self._wanted]
            self._acknowledged -= set(refused)
            self._refused |= dict.fromkeys(refused, reason)
            self._say("not subscribed", refused, reason)
            self._measure()

    def forgive(self, symbols: Iterable[str]) -> None:
        """These are asked for again."""
        with self._lock:
            for one in symbols:
                self._refused.pop(one, None)

    def tell_unanswered(self, reason: str) -> None:
        """Say aloud, once, what is neither acknowledged nor refused."""
        with self._lock:
            self._say("not acknowledged", self._unanswered(), reason)

    def refused(self) -> dict[str, str]:
        """What is refused, with the reason."""
        with self._lock:
            return dict(self._refused)

    def told(self) -> dict[str, Any]:
        """All of it, each symbol once."""
        with self._lock:
            reasons: dict[str, list[str]] = {}
            for symbol, reason in self._refused.items():
                reasons.setdefault(reason, []).append(symbol)
            return {
                "source": self.source,
                "carries": self.pattern,
                "changes": "at once"
                if self.removes
                else "added at once, removed when connected anew",
                "acknowledged": [one for one in self.target() if one in self._acknowledged],
                "unanswered": self._unanswered(),
                "refused": [{"reason": k, "symbols": v} for k, v in reasons.items()],
            }

    def _unanswered(self) -> list[str]:
        known = self._acknowledged | self._refused.keys()
        return [one for one in self.target() if one not in known]

    def _say(self, what: str, symbols: list[str], reason: str) -> None:
        new = [one for one in symbols if (one, reason) not in self._told]
        self._told |= {(one, reason) for one in new}
        if new:
            some = ", ".join(new[:NAMED_MAX])
            log.error(what, source=self.source, count=len(new), some=some, reason=reason)

    def _measure(self) -> None:
        target = self.target()
        acknowledged = sum(one in self._acknowledged for one in target)
        counts = (len(target), acknowledged, len(self._refused))
        for state, count in zip(STATES, counts, strict=True):
            telemetry.FEED_SYMBOLS.labels(self.source, state).set(count)
