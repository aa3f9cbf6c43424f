"""The unit of every value: what may be compared, added and multiplied.

    usd percent shares trades bars ratio flag points seconds minutes hours days

A number without a unit takes that of what it meets. `+`, `-`, `min`, `max` and comparisons need one unit;
`*` and `/` make a new one: shares / shares is a ratio. A price is in usd, and so is a turnover: shares
beside usd fall away (price * volume_daily is usd, marketcap / shares_outstanding too). Percent and usd do
not multiply: 3% of a price is price * 0.03.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from functions.market.vocabulary import FAMILIES, MORE, unit_of
from functions.rules.faults import RuleFault
from functions.rules.tree import Arithmetic, Metric, Number, Value

RATIO, PERCENT = "ratio", "percent"
# What may stand after a number, as it is written out, and the other ways to write it.
WRITTEN = {
    "usd": "$",
    "percent": "%",
    "shares": "shares",
    "trades": "trades",
    "bars": "bars",
    "points": "points",
    "ratio": "x",
    "seconds": "s",
    "minutes": "m",
    "hours": "h",
    "days": "d",
}
OTHERS = {
    "usd": ("usd", "dollar", "dollars"),
    "percent": ("percent", "pct"),
    "shares": ("share",),
    "trades": ("trade",),
    "bars": ("bar", "candle", "candles"),
    "points": ("point",),
    "ratio": ("times",),
    "seconds": ("second", "seconds", "sec"),
    "minutes": ("minute", "minutes", "min"),
    "hours": ("hour", "hours"),
    "days": ("day", "days"),
}
WORDS = {word: unit for unit, written in WRITTEN.items() for word in (written, *OTHERS[unit])}
SECONDS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400}
NAMED = {"usd": "$", "percent": "%"}  # in messages
# The vocabulary counts trades and candles alike.
COUNTED = {"trade_count": "trades", "consecutive_candles": "bars"}


def _units() -> dict[str, str]:
    """Every metric's unit, by its name."""
    found = {}
    for family in (*FAMILIES, *MORE):
        for name in family.names:
            unit = COUNTED.get(family.id) or unit_of(family, name)
            found[name] = "points" if unit.startswith("index") else unit
    return found


UNITS = _units()


@lru_cache(maxsize=4096)
def unit_of_value(value: Value) -> str:
    """The unit of a value; "" is a number without one. Raises RuleFault where units do not fit."""
    if isinstance(value, Number):
        return value.unit
    if isinstance(value, Metric):
        return UNITS[value.name]
    if value.operator in ("*", "/"):
        return _multiplied(value)
    return _same(value)


def same_unit(left: Value, right: Value) -> str:
    """The unit two values share; raises RuleFault, which names both units."""
    one, other = unit_of_value(left), unit_of_value(right)
    if one and other and one != other:
        raise RuleFault(
            f"a value in {_named(one)}, as {_told(left)} is",
            f"{_named(other)} ({_told(right)}){_way_out(left, right, one, other)}",
        )
    return one or other


def _same(value: Arithmetic) -> str:
    first = value.values[0]
    for other in value.values[1:]:
        same_unit(first, other)
        if not unit_of_value(first):
            first = other
    return unit_of_value(first)


def _multiplied(value: Arithmetic) -> str:
    left, right = (unit_of_value(one) for one in value.values)
    if not left and not right:
        return ""
    sign = 1 if value.operator == "*" else -1
    powers = Counter(_powers(left))
    for unit, power in _powers(right).items():
        powers[unit] += sign * power
    powers = Counter({unit: power for unit, power in powers.items() if power})
    if powers[PERCENT] and powers != Counter({PERCENT: 1}):
        raise RuleFault(
            "percent alone, or times a plain number",
            f"{_named(left or RATIO)} {value.operator} {_named(right or RATIO)}; "
            "write 3% of a price as price * 0.03",
        )
    if powers["usd"]:
        del powers["shares"]
    return _joined(powers)


def _powers(unit: str) -> dict[str, int]:
    """`usd^2/shares` as powers of units; a ratio has none."""
    found: dict[str, int] = {}
    for place, part in enumerate(unit.split("/")):
        for factor in part.split("*"):
            name, _, power = factor.partition("^")
            if name not in ("", RATIO, "1"):
                found[name] = found.get(name, 0) + (
                    int(power or 1) if not place else -int(power or 1)
                )
    return found


def _joined(powers: Counter[str]) -> str:
    def side(sign: int) -> str:
        some = sorted((unit, sign * power) for unit, power in powers.items() if sign * power > 0)
        return "*".join(unit if power == 1 else f"{unit}^{power}" for unit, power in some)

    above, below = side(1), side(-1)
    if not below:
        return above or RATIO
    return f"{above or 1}/" + below.replace("*", "/")


def _named(unit: str) -> str:
    return NAMED.get(unit, unit or "a plain number")


def _told(value: Value) -> str:
    if isinstance(value, Metric):
        return value.name
    if isinstance(value, Number):
        return f"{value.value:g}"
    return f"the result of {value.operator}"


def _way_out(left: Value, right: Value, one: str, other: str) -> str:
    """Between two units of time: the number as it should be written."""
    for number, unit, wanted in ((right, other, one), (left, one, other)):
        if isinstance(number, Number) and {unit, wanted} <= SECONDS.keys():
            amount = number.value * SECONDS[unit] / SECONDS[wanted]
            return f"; write {amount:g}{WRITTEN[wanted]}"
    return ""
