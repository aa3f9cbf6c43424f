"""The slow, obvious twin of rules: one symbol, one moment at a time, None for unknown."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from functions.market.vocabulary import FAMILY_OF
from functions.rules import tree
from functions.rules.moments import GAPPED

NOISE, EQUAL = 1e-9, 1e-4
SESSIONS = ("closed", "premarket", "market", "postmarket")
MINUTES = {"1m": 1, "2m": 2, "5m": 5, "10m": 10, "15m": 15, "30m": 30, "60m": 60}


@dataclass
class Moment:
    """What is known at one moment of one symbol."""

    symbol: int
    ts_ns: int
    values: dict[str, float]
    volume: float
    session: int
    day: int
    stretch: int
    barred: int
    candles: dict[str, int]
    member: dict[str, int]  # 0 not known, 1 out, 2 in
    is_clock: bool = False
    midnight_ns: int = 0


def value_of(value: tree.Value, now: Moment) -> float | None:
    if isinstance(value, tree.Number):
        return value.value
    if isinstance(value, tree.Metric):
        found = now.values[value.name]
        return None if math.isnan(found) else found
    parts = [value_of(one, now) for one in value.values]
    if any(one is None for one in parts):
        return None
    try:
        result = calculate(value.operator, parts)
    except ZeroDivisionError:
        return None
    return result if math.isfinite(result) else None


def calculate(operator: str, parts: list[Any]) -> float:
    if operator == "+":
        return parts[0] + parts[1]
    if operator == "-":
        return parts[0] - parts[1]
    if operator == "*":
        return parts[0] * parts[1]
    if operator == "/":
        return parts[0] / parts[1]
    if operator == "abs":
        return abs(parts[0])
    if operator == "negative":
        return -parts[0]
    return min(parts) if operator == "min" else max(parts)


def holds(operator: str, left: float, right: float) -> bool:
    noise = NOISE * max(1.0, abs(right))
    if operator == ">":
        return left > right + noise
    if operator == "<":
        return left < right - noise
    if operator == ">=":
        return left >= right - noise
    if operator == "<=":
        return left <= right + noise
    is_equal = abs(left - right) < EQUAL
    return is_equal if operator == "==" else not is_equal


def names_in(value: tree.Value) -> list[str]:
    if isinstance(value, tree.Metric):
        return [value.name]
    if isinstance(value, tree.Arithmetic):
        return [name for one in value.values for name in names_in(one)]
    return []


def counts(guard: tree.Guard, names: list[str], now: Moment) -> bool:
    families = [FAMILY_OF[name] for name in names]
    volume = guard.volume
    if volume is None:
        volume = max([one.volume_threshold for one in families], default=0.0)
    if volume > 0 and not now.volume >= volume:
        return False
    session = SESSIONS[now.session]
    if guard.sessions is None:  # all three sessions are any hour
        common = [one for one in SESSIONS if all(one in family.sessions for family in families)]
        return len(common) == 3 or not families or session in common
    return not guard.sessions or session in guard.sessions


@dataclass
class Seen:
    """What a rule remembers of one symbol."""

    stretch: int = 0
    armed: bool = False
    fired_ns: int = 0
    nodes: dict[Any, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))


class SlowRule:
    """One rule; `at` says its truth at a moment and whether it fires."""

    def __init__(self, rule: tree.Rule, symbols: list[str], is_timed: bool) -> None:
        self.rule, self.symbols, self.is_timed = rule, symbols, is_timed
        self.seen: dict[int, Seen] = defaultdict(Seen)

    def at(self, now: Moment) -> tuple[bool | None, bool]:
        seen = self.seen[now.symbol]
        self.memory, self.is_new = seen.nodes, seen.stretch != now.stretch
        seen.stretch = now.stretch
        self.answers: dict[Any, bool | None] = {}
        truth = self.truth(self.rule.when, now)
        if now.barred:
            truth = None
        turns = truth is True and not seen.armed
        if now.barred != GAPPED:
            seen.armed = truth is True
        return truth, turns and self.may_say(seen, now)

    def may_say(self, seen: Seen, now: Moment) -> bool:
        rule = self.rule
        if rule.symbols and self.symbols[now.symbol] not in rule.symbols:
            return False
        if seen.fired_ns:
            if rule.cooldown_ns and now.ts_ns - seen.fired_ns < rule.cooldown_ns:
                return False
            if rule.once_per:
                length = MINUTES[rule.once_per] * 60 * 10**9
                same = (now.ts_ns - now.midnight_ns) // length
                if same <= (seen.fired_ns - now.midnight_ns) // length:
                    return False
        seen.fired_ns = now.ts_ns
        return True

    def truth(self, one: tree.Condition, now: Moment) -> bool | None:
        """A condition that stands twice in a rule is one: it is asked once."""
        if one not in self.answers:
            self.answers[one] = getattr(self, type(one).__name__.lower())(one, now)
        return self.answers[one]

    def inner(self, one: tree.Condition, now: Moment) -> bool | None:
        """What is watched: unknown where nothing may fire."""
        found = self.truth(one, now)
        return None if now.barred else found

    # -- without memory

    def compare(self, one: tree.Compare, now: Moment) -> bool | None:
        left, right = value_of(one.left, now), value_of(one.right, now)
        if left is None or right is None:
            return None
        if not counts(one.guard, names_in(one.left) + names_in(one.right), now):
            return None
        return holds(one.operator, left, right)

    def inlist(self, one: Any, now: Moment) -> bool | None:
        return {0: None, 1: False, 2: True}[now.member[one.toplist]]

    def all(self, one: tree.All, now: Moment) -> bool | None:
        found = [self.truth(part, now) for part in one.parts]
        return False if False in found else None if None in found else True

    def any(self, one: tree.Any, now: Moment) -> bool | None:
        found = [self.truth(part, now) for part in one.parts]
        return True if True in found else None if None in found else False

    def not_(self, one: tree.Not, now: Moment) -> bool | None:
        found = self.truth(one.part, now)
        return None if found is None else not found

    # -- with memory

    def turned(self, one: Any, inside: bool | None, breaks: bool) -> bool | None:
        memory = self.memory[one]
        before = memory.get("before")
        if breaks and self.is_new:
            before = None
        memory["before"] = inside
        if inside is None or inside is False:
            return inside
        return None if before is None else not before

    def crosses(self, one: tree.Crosses, now: Moment) -> bool | None:
        operator = ">" if one.direction == "above" else "<"
        side = self.compare(tree.Compare(operator, one.left, one.right, one.guard), now)
        return self.turned(one, None if now.barred else side, breaks=True)

    def enters(self, one: tree.Enters, now: Moment) -> bool | None:
        return self.turned(one, None if now.barred else self.inlist(one, now), breaks=False)

    def leaves(self, one: tree.Leaves, now: Moment) -> bool | None:
        inside = None if now.barred else self.inlist(one, now)
        return self.turned(one, None if inside is None else not inside, breaks=False)

    def held(self, one: tree.Held, now: Moment) -> bool | None:
        inside, memory = self.inner(one.condition, now), self.memory[one]
        before = None if self.is_new else memory.get("before")
        memory["before"] = inside
        if inside is not True:
            return inside
        if before is not True:
            memory["since"], memory["is_known"] = now.ts_ns, before is False
        if now.ts_ns - memory["since"] >= one.for_ns:
            return True
        return False if memory["is_known"] else None

    def rearm(self, one: tree.Rearm, now: Moment) -> bool | None:
        inside, memory = self.inner(one.condition, now), self.memory[one]
        value, level = value_of(one.value, now), value_of(one.level, now)
        is_back = False
        if value is not None and level is not None and not now.barred:
            is_back = holds("<" if one.direction == "below" else ">", value, level)
        if inside is True:
            memory["is_on"] = True
        elif is_back:
            memory["is_on"] = False
        if memory.get("is_on") is None:
            return None
        if memory["is_on"]:
            return True
        return None if inside is None else False

    def firsttoday(self, one: tree.FirstToday, now: Moment) -> bool | None:
        inside, memory = self.inner(one.condition, now), self.memory[one]
        if memory.get("day") == now.day:
            return False
        if inside is True:
            memory["day"] = now.day
        return inside

    def then(self, one: tree.Then, now: Moment) -> bool | None:
        first, second = self.inner(one.first, now), self.inner(one.second, now)
        memory = self.memory[one]
        opens = first is True and memory.get("first") is not True
        turns = second is True and memory.get("second") is not True
        memory["first"], memory["second"] = first, second
        since = None if self.is_new else memory.get("since")
        pulse = turns and since is not None and now.ts_ns - since <= one.within_ns
        memory["since"] = now.ts_ns if opens else None if pulse else since
        return None if second is None else pulse

    def oflast(self, one: tree.OfLast, now: Moment) -> bool | None:
        inside, memory = self.inner(one.condition, now), self.memory[one]
        closes = memory.setdefault("closes", [None] * one.bars)
        count = now.candles[one.timeframe]
        closed = count - memory.get("count", count)
        memory["count"] = count
        if closed:
            closes += [None] * (closed - 1) + [inside]
        newest = closes[-one.bars :]
        if newest.count(True) >= one.at_least:
            return True
        return None if newest.count(True) + newest.count(None) >= one.at_least else False

    def changed(self, one: tree.Changed, now: Moment) -> bool | None:
        memory = self.memory[one]
        if self.is_new:
            memory.clear()
        known = memory.setdefault("known", {})  # sixtieth -> newest value known in it
        length = -(-one.within_ns // 60)
        number = max(now.ts_ns // length, memory.get("number", 0))
        value = None if now.barred else value_of(one.value, now)
        if known:
            memory["number"] = number
        before = [at for at in known if at <= number - 61]
        then = known[max(before)] if before else None
        if value is not None:
            known[number] = value
            memory["number"] = number
        if value is None or then is None:
            return None
        change = value - then
        if one.by.unit == "percent":
            if then == 0:
                return None
            change = 100.0 * change / then
        if not math.isfinite(change) or not counts(one.guard, names_in(one.value), now):
            return None
        return holds(one.operator, change, one.by.value)


setattr(SlowRule, "not", SlowRule.not_)  # `Not` is asked by the name of its type
