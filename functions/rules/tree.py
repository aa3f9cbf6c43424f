"""The one tree of a rule: text, JSON, English and numpy are all made from it.

A condition is true, false or unknown at each moment of a symbol (a print, or a clock event). A rule
fires when its condition turns true. Unknown never fires, and `not` of unknown is unknown.

    state            true as long as it holds            Compare Held OfLast Rearm InList All Any Not
    pulse            true at one moment, then false       Crosses Then FirstToday Enters Leaves
"""

from __future__ import annotations

from dataclasses import dataclass

# -- values


@dataclass(frozen=True)
class Number:
    """A number as written; `unit` is "" where none was given, and then it takes the other side's."""

    value: float
    unit: str = ""  # one of functions.rules.units


@dataclass(frozen=True)
class Metric:
    """A metric of the vocabulary, by its own name (aliases are resolved)."""

    name: str


@dataclass(frozen=True)
class Arithmetic:
    """`+ - * /` of two values, `abs` and `negative` of one, `min` and `max` of two or more."""

    operator: str
    values: tuple[Value, ...]


Value = Number | Metric | Arithmetic


# -- conditions


@dataclass(frozen=True)
class Guard:
    """Where a leaf counts: outside, it is unknown. None = as the documented defaults of its metrics
    say: the highest of their volume thresholds, the sessions they have in common."""

    volume: float | None = None  # shares of the trading day, real ones
    sessions: tuple[str, ...] | None = None  # of premarket, market, postmarket; () = at any hour


@dataclass(frozen=True)
class Compare:
    """A value against a value. `==` is within 1e-4, the others leave room for binary fractions."""

    operator: str  # > < >= <= == !=
    left: Value
    right: Value
    guard: Guard = Guard()


@dataclass(frozen=True)
class Crosses:
    """Above: left <= right at the symbol's moment before, left > right now; below is its mirror.

    The moment before counts only if both values were known at it and nothing lies between: not the
    start of a trading day, not a halt, not a gap of the feed.
    """

    direction: str  # above, below
    left: Value
    right: Value
    guard: Guard = Guard()


@dataclass(frozen=True)
class Changed:
    """The change of a value against itself `within_ns` ago, compared with `by`.

    `by` in percent is of the value then; otherwise it is in the value's own unit. The value then is
    the newest one known at the last sixtieth of the window that had ended `within_ns` ago.
    """

    value: Value
    operator: str  # > < >= <=
    by: Number
    within_ns: int
    guard: Guard = Guard()


@dataclass(frozen=True)
class Held:
    """The condition has been true without a break for at least `for_ns` of event time."""

    condition: Condition
    for_ns: int


@dataclass(frozen=True)
class OfLast:
    """The condition was true at the close of at least `at_least` of the last `bars` candles."""

    condition: Condition
    at_least: int
    bars: int  # 1 to 64
    timeframe: str = "1m"  # 1m 2m 5m 10m 15m 30m 60m


@dataclass(frozen=True)
class Then:
    """Pulse: `second` turns true after, and at most `within_ns` after, `first` turned true.

    A later turn of `first` replaces the earlier; the pulse uses it up. Same moment is not after.
    """

    first: Condition
    second: Condition
    within_ns: int


@dataclass(frozen=True)
class FirstToday:
    """Pulse: the first moment of the trading day at which the condition is true."""

    condition: Condition


@dataclass(frozen=True)
class Rearm:
    """Hysteresis: true from when the condition is, until `value` is below (above) `level`."""

    condition: Condition
    direction: str  # below, above
    value: Value
    level: Value


@dataclass(frozen=True)
class Enters:
    """Pulse: the symbol enters a toplist."""

    toplist: str


@dataclass(frozen=True)
class Leaves:
    """Pulse: the symbol leaves a toplist."""

    toplist: str


@dataclass(frozen=True)
class InList:
    """The symbol is in a toplist."""

    toplist: str


@dataclass(frozen=True)
class All:
    """Every part is true; false where one is false; else unknown."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Any:
    """Some part is true; false where all are; else unknown."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """True where the part is false."""

    part: Condition


Leaf = Compare | Crosses | Changed | Enters | Leaves | InList
Condition = Leaf | Held | OfLast | Then | FirstToday | Rearm | All | Any | Not


# -- the rule


@dataclass(frozen=True)
class Rule:
    """A checked rule; `version` is the hash of what it means (not of its name or its description)."""

    id: str
    name: str
    when: Condition
    cooldown_ns: int = 10_000_000_000
    once_per: str = ""  # a timeframe: at most one alert per symbol and candle of it
    symbols: tuple[
        str, ...
    ] = ()  # () = every symbol; a watchlist's symbols are filled in by the gateway
    watchlist: str = ""  # its id; its symbols stand in `symbols`, as when the rule was sent, with those named beside it
    enabled: bool = True
    owner: str = ""  # whose rule it is; not part of the version
    version: str = ""
