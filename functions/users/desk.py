"""What one user is told of a frame's alerts: one by one within the budget, else in digests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.users import digests
from functions.users.matches import Matches
from functions.users.profiles import Profile
from functions.users.quiet import quiet_ends

Places = NDArray[np.int64]
REASONS = ("budget", "quiet")


class Desk:
    """One user over one frame. Windows and quiet hours follow `heard_ns`, which never goes back.

    open  window and count of alerts told in it, and the digests that are not said yet, by reason
    said  (place of the alert that caused it, delivery), in order
    """

    def __init__(
        self, user: str, profile: Profile, open_: dict[str, Any] | None, matches: Matches
    ) -> None:
        self._user, self._profile, self._matches = user, profile, matches
        self.open = open_ or {"window": 0, "count": 0}
        self.told: set[str] = set()  # ids of alerts that were told one by one
        self.said: list[tuple[int, dict[str, Any]]] = []

    def take(self, places: Places) -> None:
        """Tell of the alerts at these places, in order, and say what gets due on the way.

        What amends or withdraws is told if its alert is among `told`, whatever the budget.
        """
        if len(places):
            heard_ns = self._matches.heard_ns[places]
            ends_ns = quiet_ends(self._profile.quiet, heard_ns)
            window = heard_ns // self._profile.window_ns
            changes = (ends_ns[1:] != ends_ns[:-1]) | (window[1:] != window[:-1])
            starts = np.flatnonzero(np.r_[True, changes])
            for low, high in zip(starts, np.r_[starts[1:], len(places)], strict=True):
                self._run(places[low:high], int(ends_ns[low]), int(window[low]))
        self._close(len(self._matches.heard_ns))

    def _run(self, places: Places, quiet_end_ns: int, window: int) -> None:
        """Alerts of one window, all of them in the same quiet hours or in none."""
        if self._matches.follows[places].any():
            for place in places:
                one = self._follow if self._matches.follows[place] else self._run_new
                one(np.array([place]), quiet_end_ns, window)
        else:
            self._run_new(places, quiet_end_ns, window)

    def _follow(self, places: Places, quiet_end_ns: int, _: int) -> None:
        """What amends or withdraws an alert: counted in quiet hours, else told whatever the budget."""
        (place,) = places.tolist()
        if self._matches.frame["id"][place] not in self.told:
            return
        self._close(place + 1)
        if quiet_end_ns:
            self._count("quiet", quiet_end_ns, places)
        else:
            self.said.append((place, self._matches.delivery(place, self._user)))

    def _run_new(self, places: Places, quiet_end_ns: int, window: int) -> None:
        self._close(int(places[0]) + 1)
        if quiet_end_ns:
            self._count("quiet", quiet_end_ns, places)
            return
        if window != self.open["window"]:
            self.open["window"], self.open["count"] = window, 0
        room = max(0, self._profile.budget - self.open["count"])
        for place in places[:room].tolist():
            self.said.append((place, self._matches.delivery(place, self._user)))
            self.told.add(self._matches.frame["id"][place])
        self.open["count"] += min(room, len(places))
        if len(places) > room:
            self._count("budget", (window + 1) * self._profile.window_ns, places[room:])

    def _count(self, reason: str, due_ns: int, places: Places) -> None:
        digest = self.open.setdefault(reason, digests.new_digest(reason))
        digests.add(digest, due_ns, self._matches, places)

    def _close(self, before: int) -> None:
        """Say the digests that alerts at places below `before` make due, each at its place."""
        due = []
        for reason in REASONS:
            if reason in self.open:
                due_ns = self.open[reason]["due_ns"]
                due.append((int(np.searchsorted(self._matches.heard_ns, due_ns)), reason))
        for place, reason in sorted(due):
            if place < before:
                ts_ns = int(self._matches.heard_ns[place])
                digest = self.open.pop(reason)
                self.said.append((place, digests.said(digest, self._user, ts_ns)))

    def is_needed(self) -> bool:
        """Whether what is open means anything for alerts to come."""
        newest = int(self._matches.heard_ns[-1]) // self._profile.window_ns
        return self.open["window"] == newest or any(one in self.open for one in REASONS)


def due(open_: dict[str, Any], user: str, clock_ns: int) -> list[dict[str, Any]]:
    """Take out the digests of a user that the clock makes due; their deliveries."""
    found = [one for one in REASONS if one in open_ and open_[one]["due_ns"] <= clock_ns]
    return [digests.said(open_.pop(reason), user, clock_ns) for reason in found]
