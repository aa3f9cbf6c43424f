"""Cooldowns by user, rule and symbol: who was told of what, and until when not again.

Three columns, a 64-bit hash of the three names in ascending order, the end of its cooldown and a hash
of the id of the alert that began it, kept as a text. A cooldown counts until its time is over by its
own alerts' times, and is forgotten when alerts ten minutes newer have come, or when the alert that
began it is withdrawn.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]

LATE_NS = 600_000_000_000  # an alert that comes later than this knows no cooldown
HELD_MAX = 500_000  # 12 MB; of more, those that end first fall out at a clock event
_ENTRY = np.dtype([("key", "<u8"), ("until_ns", "<i8"), ("alert", "<u8")])


class Cooldowns:
    """All cooldowns of all users."""

    def __init__(self, text: str) -> None:
        entries = np.frombuffer(text.encode("latin-1"), _ENTRY)
        self.keys, self.until_ns, self.alert = (entries[name] for name in _ENTRY.names or ())

    def text(self) -> str:
        """As a text, to be kept."""
        entries = np.empty(len(self.keys), _ENTRY)
        entries["key"], entries["until_ns"], entries["alert"] = self.keys, self.until_ns, self.alert
        return entries.tobytes().decode("latin-1")

    def admit(
        self,
        keys: Array,
        ts_ns: Array,
        heard_ns: Array,
        cooldown_ns: Array,
        alert: NDArray,
        is_gone: NDArray,
    ) -> NDArray:
        """Which alerts are not cooled down, in order; those that are not begin a cooldown.

        keys (n,)  of user, rule and symbol; ts_ns (n,) the alert's time; heard_ns (n,) the newest
        alert's time so far; cooldown_ns (n,) the user's, 0 = none; alert (n,) hashes of their ids;
        is_gone (n,) of withdrawals: none is admitted, each ends the cooldown that its alert began.
        """
        wanted, place = np.unique(keys, return_inverse=True)
        until, by = self._known(wanted)
        admitted = np.zeros(len(keys), dtype=bool)
        for rows in rounds(place):
            cell = place[rows]
            cools = (ts_ns[rows] < until[cell]) & (until[cell] > heard_ns[rows] - LATE_NS)
            cools &= cooldown_ns[rows] > 0  # without one, an alert of a little earlier is told too
            free = rows[~cools & ~is_gone[rows]]
            admitted[free] = True
            until[place[free]], by[place[free]] = ts_ns[free] + cooldown_ns[free], alert[free]
            over = cell[is_gone[rows] & (by[cell] == alert[rows])]
            until[over] = 0
        self._keep(wanted, until, by)
        return admitted

    def _known(self, wanted: Array) -> tuple[Array, NDArray]:
        until, by = np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.uint64)
        if len(self.keys):
            place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            known = self.keys[place] == wanted
            until[known], by[known] = self.until_ns[place[known]], self.alert[place[known]]
        return until, by

    def _keep(self, wanted: Array, until: Array, by: NDArray) -> None:
        place = np.searchsorted(self.keys, wanted)
        known = np.zeros(len(wanted), dtype=bool)
        inside = place < len(self.keys)
        known[inside] = self.keys[place[inside]] == wanted[inside]
        self.until_ns, self.alert = self.until_ns.copy(), self.alert.copy()
        self.until_ns[place[known]], self.alert[place[known]] = until[known], by[known]
        new = ~known & (until > 0)  # a withdrawal alone begins nothing
        self.keys = np.insert(self.keys, place[new], wanted[new])
        self.until_ns = np.insert(self.until_ns, place[new], until[new])
        self.alert = np.insert(self.alert, place[new], by[new])

    def forget(self, heard_ns: int) -> None:
        """Drop what cannot suppress any more."""
        self._pick(self.until_ns > heard_ns - LATE_NS)

    def limit(self, most: int = HELD_MAX) -> None:
        """Keep the `most` that end last."""
        if len(self.keys) > most:
            picked = np.zeros(len(self.keys), dtype=bool)
            picked[np.lexsort((self.keys, self.until_ns))[-most:]] = True
            self._pick(picked)

    def _pick(self, picked: NDArray) -> None:
        if not picked.all():
            self.keys, self.until_ns, self.alert = (
                one[picked] for one in (self.keys, self.until_ns, self.alert)
            )


def rounds(place: Array) -> list[Array]:
    """Rows in rounds in which no place comes twice: first comes, second comes, ..."""
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    turn = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    by_turn = np.argsort(turn, kind="stable")
    bounds = np.searchsorted(turn[by_turn], np.arange(turn.max(initial=-1) + 2))
    return [np.sort(order[by_turn[low:high]]) for low, high in pairwise(bounds)]


def keys_of(user: NDArray, rule: NDArray, symbol: NDArray) -> NDArray:
    """64-bit keys of triples of hashes (`hash_of`), mixed as in SplitMix64 (Steele et al. 2014)."""
    mixed = user
    for one in (rule, symbol):
        mixed = (mixed ^ one) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed


@lru_cache(maxsize=1 << 16)
def hash_of(text: str) -> int:
    """64 bits of a name."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
