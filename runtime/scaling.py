"""How many workers a chain wants: event-time lag over the target, within limits, slow to give back.

The supervisor on one machine and KEDA in a cluster go by this one figure. Nothing here looks at a
clock or asks anybody: what was seen comes in, the figure comes out.

What was seen                                     what becomes of the figure
lag over target above it in every look of GROW_S  the least of these
below it in every look of the cool-down           one less, then the cool-down begins anew
not every partition told how far it is            held
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

GROW_S = 3.0  # a frame that is being answered is no lag


@dataclass(frozen=True)
class Bounds:
    """The limits a deployment sets; `most` of a chain is also its number of partitions."""

    least: int = 1
    most: int = 2
    target_s: float = 2.0
    cooldown_s: float = 60.0


@dataclass(frozen=True)
class Figure:
    """How many workers a chain wants, and what that rests on."""

    desired: int
    lag_s: float | None = None  # None: not known at the last look, the figure is held
    changed_s: float = 0.0  # when the figure became this, or the looking began
    wants: tuple[tuple[float, int], ...] = ()  # (when, lag over target) of the looks of a cool-down


@dataclass(frozen=True)
class ChainLag:
    """A chain as it was seen: its lag, None where a partition did not tell, and its partitions."""

    lag_s: float | None
    partitions: int


def wanted(lag_s: float, bounds: Bounds, partitions: int) -> int:
    """Lag over target, within the limits; a partition has one worker at most."""
    most = max(bounds.least, min(bounds.most, partitions))
    return max(bounds.least, min(most, math.ceil(lag_s / bounds.target_s)))


def decide(before: Figure, seen: ChainLag, now_s: float, bounds: Bounds) -> Figure:
    """The figure after one look at a chain."""
    if seen.lag_s is None:
        # What is seen after it begins anew: the first look after a hold decides nothing.
        return Figure(before.desired, None, now_s)
    kept = [one for one in before.wants if one[0] > now_s - bounds.cooldown_s]
    wants = (*kept, (now_s, wanted(seen.lag_s, bounds, seen.partitions)))
    desired = before.desired
    newest = [want for when, want in wants if when >= now_s - GROW_S]
    rested_s = now_s - before.changed_s
    if rested_s >= GROW_S and min(newest) > desired:
        desired = min(newest)
    elif rested_s >= bounds.cooldown_s and max(want for _, want in wants) < desired:
        desired -= 1
    changed_s = before.changed_s if desired == before.desired else now_s
    return Figure(desired, seen.lag_s, changed_s, wants)


@dataclass
class Scaling:
    """The figures of every chain that was seen."""

    bounds: Bounds
    figures: dict[str, Figure] = field(default_factory=dict)

    def look(self, seen: Mapping[str, ChainLag], present: int, now_s: float) -> dict[str, Figure]:
        """The figures after one look; those begin at the workers that are `present`.

        A chain that nobody tells of is held: its workers may be starting, or cannot be asked.
        """
        for name, figure in self.figures.items():
            if name not in seen:
                self.figures[name] = decide(figure, ChainLag(None, 1), now_s, self.bounds)
        for name, chain in seen.items():
            begun = max(self.bounds.least, min(self.bounds.most, present, chain.partitions))
            figure = self.figures.get(name) or Figure(begun, None, now_s)
            self.figures[name] = decide(figure, chain, now_s, self.bounds)
        return dict(self.figures)

    @property
    def desired(self) -> int:
        """Workers that every chain has enough of, where each hosts all of them."""
        return max((one.desired for one in self.figures.values()), default=self.bounds.least)

    def told(self) -> dict[str, object]:
        """The figures for programs."""
        chains = {
            name: {"desired": one.desired, "lag_s": one.lag_s, "is_held": one.lag_s is None}
            for name, one in sorted(self.figures.items())
        }
        return {"desired": self.desired, "chains": chains}
