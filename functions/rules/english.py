"""Reads a rule back in plain English."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from functions.market.toplists import LISTS
from functions.market.vocabulary import TITLES, timeframe_of
from functions.rules import tree
from functions.rules.checks import defaults_of, leaves_of
from functions.rules.limits import SECOND_NS
from functions.rules.tree import (
    Arithmetic,
    Changed,
    Compare,
    Condition,
    Crosses,
    Metric,
    Number,
    Rule,
    Value,
)
from functions.rules.units import UNITS, unit_of_value

OPERATORS = {
    ">": "is above",
    "<": "is below",
    ">=": "is at least",
    "<=": "is at most",
    "==": "is equal to",
    "!=": "is not equal to",
}
SIGNS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
SPANS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
SPOKEN = {"s": "second", "m": "minute", "h": "hour", "d": "day"}
UNITS_TOLD = {"usd": "", "percent": "%", "points": "", "ratio": " times", "": "", "flag": ""}
SHORT = {"rsi": "RSI", "ema": "EMA", "sma": "SMA", "vwap": "VWAP", "atr": "ATR", "atrp": "ATR in percent", "macd": "MACD", "bb": "Bollinger", "pct": "in percent", "dist": "distance", "avg": "average", "ma": "moving average"}  # fmt: skip
PULSES = (Crosses, tree.Then, tree.FirstToday, tree.Enters, tree.Leaves)
VERBS = (
    ("crossed_", "the price crosses {} the "),
    ("broke_", "the price breaks the "),
    ("rejected_", "the price turns back from the "),
    ("through_vwap_", "a wide bar goes through the VWAP to "),
    ("back_to_ema_", "the price is back at the "),
    ("is_", "the last candle is a "),
)
SESSION = {"premarket": "premarket", "market": "regular hours", "postmarket": "postmarket"}


def read(rule: Rule) -> str:
    """What a rule does, in sentences."""
    guards = {defaults_of(leaf) for leaf in leaves_of(rule.when)}
    is_shared = len(guards) == 1
    told = _Teller(inline=not is_shared).told(rule.when)
    how_often = (
        [f"at most once in {span(rule.cooldown_ns)} for a symbol"] if rule.cooldown_ns else []
    )
    if rule.once_per:
        how_often.append(f"at most once per {_timeframe(rule.once_per)} bar")
    begins = "Fires when" if isinstance(rule.when, PULSES) else "Fires as soon as"
    sentences = [", ".join([f"{begins} {told}", *filter(None, [" and ".join(how_often)])]) + "."]
    if is_shared and (counts := _guard(*guards.pop())):
        sentences.append(f"It counts only {counts}.")
    if rule.watchlist:
        named = f"{', '.join(rule.symbols)} and " if rule.symbols else ""
        sentences.append(f"Only for {named}symbols of the watchlist {rule.watchlist}.")
    elif rule.symbols:
        sentences.append(f"Only for {listed(rule.symbols)}.")
    if not rule.enabled:
        sentences.append("It is switched off.")
    return " ".join(sentences)


def told(when: Condition) -> str:
    """What a condition asks for, as part of a sentence, with where each comparison counts."""
    return _Teller(inline=True).told(when)


# -- words


def span(ns: int) -> str:
    """A duration: `5 minutes`, `90 seconds`, `0.5 seconds`."""
    for name, seconds in SPANS:
        count, rest = divmod(ns, seconds * SECOND_NS)
        if count and not rest:
            return f"{count} {name}" + ("" if count == 1 else "s")
    return f"{ns / SECOND_NS:.9f}".rstrip("0").rstrip(".") + " seconds"


def listed(several: tuple[str, ...], last: str = "and") -> str:
    """`a, b and c`."""
    if len(several) < 2:
        return "".join(several)
    return f"{', '.join(several[:-1])} {last} {several[-1]}"


def amount(number: Number, unit: str = "") -> str:
    """A number with its unit, or with that of what it stands beside."""
    unit = number.unit or unit
    size = abs(number.value)
    text = f"{size:,.0f}" if size == int(size) else f"{size:,}" if size >= 1e-4 else f"{size!r}"
    sign = "-" if number.value < 0 else ""
    if unit == "usd":
        return f"{sign}${text}"
    if unit in UNITS_TOLD:
        return f"{sign}{text}{UNITS_TOLD[unit]}"
    is_one = size == 1
    return (
        f"{sign}{text} {unit.removesuffix('s') if is_one else unit}"
        if unit.isalpha()
        else f"{sign}{text}"
    )


def metric(name: str) -> str:
    """The name of a metric in words: `the RSI 14 of 5 minutes`."""
    return f"the {_words(name)}"


def _words(name: str) -> str:
    frame = timeframe_of(name)
    words = name.replace(f"_{frame}", "") if frame else name
    parts = [SHORT.get(part, part) for part in _apart(words).split("_")]
    if "in percent" in parts:
        parts.remove("in percent")
        parts.append("in percent")
    if name.startswith("biggest_range") and frame.endswith("m"):
        return f"{' '.join(parts)} of {frame[:-1]} months"
    return f"{' '.join(parts)}{_of(frame)}"


def flag(name: str) -> str:
    """What a flag says when it is 1: `the price crosses above the EMA 9 of 5 minutes`."""
    for begin, verb in VERBS:
        if name.startswith(begin):
            rest = name.removeprefix(begin)
            side = rest.partition("_")[0]
            rest = rest.removeprefix(f"{side}_") if "{}" in verb else rest
            return verb.format(side) + _words(rest)
    words = _words(name)
    return f"there is {'an' if words[0] in 'aeiou' else 'a'} {words}"


def toplist(name: str) -> str:
    """The title of a toplist: `Top Gainers (5m)`."""
    if name in TITLES:
        return TITLES[name]
    if name not in LISTS:
        return f"the list {name}"  # of a user
    return f"{TITLES[name.partition('_')[0]]} ({name.rpartition('_')[2]})"


def _apart(words: str) -> str:
    """`ema20` is EMA 20."""
    return re.sub(r"\b(ema|sma)(\d)", r"\1_\2", words.replace("_", " ")).replace(" ", "_")


def _of(frame: str) -> str:
    if not frame:
        return ""
    if frame == "today":
        return " of today"
    if frame == "daily":
        return " by day"
    if frame == "1y":
        return " of a year"
    return f" of {_timeframe(frame, several=True)}"


def _timeframe(frame: str, *, several: bool = False) -> str:
    count, unit = int(frame[:-1]), SPOKEN[frame[-1]]
    if several:
        return f"{count} {unit}" + ("" if count == 1 else "s")
    return f"{count}-{unit}"


def _is_flag(node: Compare) -> bool:
    return (
        isinstance(node.left, Metric)
        and UNITS[node.left.name] == "flag"
        and node.operator == "=="
        and node.right in (Number(1.0), Number(0.0))
    )


def value(one: Value, unit: str = "") -> str:
    """A value in words; `unit` is that of what a plain number stands beside."""
    if isinstance(one, Metric):
        return metric(one.name)
    if isinstance(one, Number):
        return amount(one, unit)
    parts = [value(part, "" if one.operator in "*/" else unit) for part in one.values]
    bound = [
        f"({text})" if _is_sum(part) else text for part, text in zip(one.values, parts, strict=True)
    ]
    if one.operator in SIGNS:
        return f" {SIGNS[one.operator]} ".join(bound)
    if one.operator == "abs":
        return f"the size of {bound[0]}"
    if one.operator == "negative":
        return f"minus {bound[0]}"
    return f"the {'lowest' if one.operator == 'min' else 'highest'} of {listed(tuple(bound))}"


def _is_sum(one: Value) -> bool:
    return isinstance(one, Arithmetic)


def _unit(*several: Value) -> str:
    return next((unit for one in several if (unit := unit_of_value(one))), "")


def _guard(volume: float, sessions: tuple[str, ...]) -> str:
    """Where a comparison counts; empty where it counts everywhere."""
    words = []
    if volume:
        words.append(f"after {volume:,.0f} shares have traded on the day")
    if sessions:
        words.append(f"in {listed(tuple(SESSION[one] for one in sessions), 'or')}")
    return " and ".join(words)


class _Teller:
    """Tells conditions; `inline` says of each comparison where it counts."""

    def __init__(self, inline: bool) -> None:
        self.inline = inline

    def told(self, node: Condition) -> str:
        return self.TELLERS[type(node)](self, node)

    def _part(self, node: Condition) -> str:
        """A part, in brackets where it has parts itself."""
        is_simple = isinstance(
            node, Compare | Crosses | Changed | tree.Enters | tree.Leaves | tree.InList
        )
        return self.told(node) if is_simple else f"({self.told(node)})"

    def _counted(self, text: str, node: Compare | Crosses | Changed) -> str:
        where = _guard(*defaults_of(node)) if self.inline else ""
        return f"{text} (counted {where})" if where else text

    def _compare(self, node: Compare) -> str:
        if isinstance(node.left, Metric) and _is_flag(node):
            said = flag(node.left.name)
            return self._counted(
                said if node.right == Number(1.0) else f"it is not so that {said}", node
            )
        unit = _unit(node.left, node.right)
        text = f"{value(node.left, unit)} {OPERATORS[node.operator]} {value(node.right, unit)}"
        return self._counted(text, node)

    def _crosses(self, node: Crosses) -> str:
        unit = _unit(node.left, node.right)
        rises, was = ("rises above", "at or below") if node.direction == "above" else ("falls below", "at or above")  # fmt: skip
        text = f"{value(node.left, unit)} {rises} {value(node.right, unit)}, having been {was} it"
        return self._counted(text, node)

    def _changed(self, node: Changed) -> str:
        amount_by, when = node.by.value, f"in {span(node.within_ns)}"
        unit = node.by.unit or _unit(node.value)
        told = value(node.value)
        is_rise = amount_by >= 0 and node.operator in (">", ">=")
        is_fall = amount_by <= 0 and node.operator in ("<", "<=")
        size = amount(Number(abs(amount_by), unit))
        bound = "more than" if node.operator in (">", "<") else "at least"
        if is_rise or is_fall:
            text = f"{told} has {'risen' if is_rise else 'fallen'} by {bound} {size} {when}"
        else:
            change = f"{OPERATORS[node.operator]} {amount(node.by, unit)}"
            text = f"the change of {told} {when} {change}"
        return self._counted(text, node)

    def _held(self, node: tree.Held) -> str:
        return f"for {span(node.for_ns)} without a break {self._part(node.condition)}"

    def _of_last(self, node: tree.OfLast) -> str:
        bars = "bar" if node.bars == 1 else f"{node.bars} bars"
        least = NUMBERS.get(node.at_least, str(node.at_least))
        frame = _timeframe(node.timeframe, several=True)
        part = self._part(node.condition)
        return f"at least {least} of the last {bars} of {frame} closed while {part}"

    def _then(self, node: tree.Then) -> str:
        first, second = self._part(node.first), self._part(node.second)
        return f"first {first} and then, within {span(node.within_ns)}, {second}"

    def _first_today(self, node: tree.FirstToday) -> str:
        return f"it is the first time today that {self._part(node.condition)}"

    def _rearm(self, node: tree.Rearm) -> str:
        unit = _unit(node.value, node.level)
        level = f"{value(node.value, unit)} is {node.direction} {value(node.level, unit)}"
        return f"{self._part(node.condition)}, not again before {level}"

    def _all(self, node: tree.All) -> str:
        return " and ".join(self._part(part) for part in node.parts)

    def _any(self, node: tree.Any) -> str:
        return " or ".join(self._part(part) for part in node.parts)

    def _not(self, node: tree.Not) -> str:
        return f"it is known not to be so that {self._part(node.part)}"

    TELLERS: ClassVar[dict[type, Callable[..., str]]] = {
        Compare: _compare,
        Crosses: _crosses,
        Changed: _changed,
        tree.Held: _held,
        tree.OfLast: _of_last,
        tree.Then: _then,
        tree.FirstToday: _first_today,
        tree.Rearm: _rearm,
        tree.Enters: lambda _, node: f"the symbol enters {toplist(node.toplist)}",
        tree.Leaves: lambda _, node: f"the symbol leaves {toplist(node.toplist)}",
        tree.InList: lambda _, node: f"the symbol is in {toplist(node.toplist)}",
        tree.All: _all,
        tree.Any: _any,
        tree.Not: _not,
    }
