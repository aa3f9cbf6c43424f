"""Cooldowns by user, rule and symbol: who was told of what, and until when not again.

Two columns, a 64-bit hash of the three names in ascending order and the end of its cooldown, kept
as a text. A cooldown counts until its time is over by its own alerts' times, and is forgotten when
alerts ten minutes newer have come.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]

LATE_NS = 600_000_000_000  # an alert that comes later than this knows no cooldown
HELD_MAX = 500_000  # 8 MB; of more, those that end first fall out at a clock event
_PAIR = np.dtype([("key", "<u8"), ("until_ns", "<i8")])


class Cooldowns:
    """All cooldowns of all users."""

    def __init__(self, text: str) -> None:
        pairs = np.frombuffer(text.encode("latin-1"), _PAIR)
        self.keys, self.until_ns = pairs["key"], pairs["until_ns"]

    def text(self) -> str:
        """As a text, to be kept."""
        pairs = np.empty(len(self.keys), _PAIR)
        pairs["key"], pairs["until_ns"] = self.keys, self.until_ns
        return pairs.tobytes().decode("latin-1")

    def admit(self, keys: Array, ts_ns: Array, heard_ns: Array, cooldown_ns: Array) -> NDArray:
        """Which alerts are not cooled down, in order; those that are not begin a cooldown.

        keys (n,)  of user, rule and symbol; ts_ns (n,) the alert's time; heard_ns (n,) the newest
        alert's time so far; cooldown_ns (n,) the user's, 0 = none.
        """
        wanted, place = np.unique(keys, return_inverse=True)
        until = self._until(wanted)
        admitted = np.zeros(len(keys), dtype=bool)
        for rows in rounds(place):
            cell = place[rows]
            cools = (ts_ns[rows] < until[cell]) & (until[cell] > heard_ns[rows] - LATE_NS)
            cools &= cooldown_ns[rows] > 0  # without one, an alert of a little earlier is told too
            free = rows[~cools]
            admitted[free] = True
            until[place[free]] = ts_ns[free] + cooldown_ns[free]
        self._keep(wanted, until)
        return admitted

    def _until(self, wanted: Array) -> Array:
        until = np.zeros(len(wanted), dtype=np.int64)
        if len(self.keys):
            place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            known = self.keys[place] == wanted
            until[known] = self.until_ns[place[known]]
        return until

    def _keep(self, wanted: Array, until: Array) -> None:
        place = np.searchsorted(self.keys, wanted)
        known = np.zeros(len(wanted), dtype=bool)
        inside = place < len(self.keys)
        known[inside] = self.keys[place[inside]] == wanted[inside]
        self.until_ns = self.until_ns.copy()
        self.until_ns[place[known]] = until[known]
        self.keys = np.insert(self.keys, place[~known], wanted[~known])
        self.until_ns = np.insert(self.until_ns, place[~known], until[~known])

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
            self.keys, self.until_ns = self.keys[picked], self.until_ns[picked]


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
