"""Event time where two clocks disagree: which events may move it on, and how late a feed is.

An event's time is the exchange's clock, its receipt ours. delay = receipt - event holds the difference
of the two clocks as well, so its least value, the floor, stands for that difference: what is above
the floor is delay. An event whose delay is more than a second below the floor is in the future: it is
kept and published, but event time does not follow it, or every later event would be late. When such
events are all that comes for ten seconds, it was a clock that stepped: the floor is taken anew. The
floor is that of the last five to ten minutes, for clocks drift.

Time is data here: a step of our own clock moves no bar, fires no timer and closes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.frames import Array

SECOND_NS = 1_000_000_000
AHEAD_NS = SECOND_NS  # further in the future than this moves nothing
SETTLE_NS = 10 * SECOND_NS  # of nothing but such events: then a clock stepped
WINDOW_NS = 300 * SECOND_NS
FAR_NS = 1 << 62


@dataclass
class Watermark:
    """Event time of one feed as it advances, batch by batch; any cut of the feed gives the same."""

    newest_ns: int = 0
    _floors_ns: tuple[int, int] = (FAR_NS, FAR_NS)  # least delay of the window before, of this one
    _window: int = -1
    _doubtful_since_ns: int = 0  # receipt of the first of a row of events in the future; 0 = none

    @property
    def floor_ns(self) -> int:
        """The least delay of late, which is what the two clocks differ by; 0 before the first event."""
        floor = min(self._floors_ns)
        return 0 if floor == FAR_NS else floor

    def advance(self, event_ns: Array, received_ns: Array) -> Array:
        """Event time after each event, in order of arrival: it never goes back and follows no future event."""
        delay = received_ns - event_ns
        is_one_window = bool((received_ns // WINDOW_NS == self._window).all())
        if is_one_window and bool((delay >= self.floor_ns - AHEAD_NS).all()):
            if not len(delay):
                return event_ns
            self._doubtful_since_ns = 0
            self._floors_ns = (self._floors_ns[0], min(self._floors_ns[1], int(delay.min())))
            found = np.maximum(np.maximum.accumulate(event_ns), self.newest_ns)
            self.newest_ns = int(found[-1])
            return found
        out = np.empty(len(event_ns), dtype=np.int64)
        pairs = zip(event_ns.tolist(), received_ns.tolist(), strict=True)
        for place, (event, received) in enumerate(pairs):
            if self._may_move(received - event, received):
                self.newest_ns = max(self.newest_ns, event)
            out[place] = self.newest_ns
        return out

    def _may_move(self, delay_ns: int, received_ns: int) -> bool:
        if min(self._floors_ns) == FAR_NS or delay_ns >= self.floor_ns - AHEAD_NS:
            self._doubtful_since_ns = 0
            self._lower(delay_ns, received_ns // WINDOW_NS)
            return True
        self._doubtful_since_ns = self._doubtful_since_ns or received_ns
        if received_ns - self._doubtful_since_ns < SETTLE_NS:
            return False
        self._doubtful_since_ns = 0
        self._floors_ns, self._window = (FAR_NS, delay_ns), received_ns // WINDOW_NS
        return True

    def _lower(self, delay_ns: int, window: int) -> None:
        before, now = self._floors_ns
        if window != self._window:
            before, now, self._window = now, FAR_NS, window
        self._floors_ns = before, min(now, delay_ns)

    def delay_ns(self, event_ns: int, received_ns: int) -> int:
        """How late an event came, the difference of the clocks taken off; 0 or more."""
        return max(received_ns - event_ns - self.floor_ns, 0)
