"""Reads the text of a rule into its tree; the grammar is in docs/rules.md.

From loose to tight: then, or, and, not, held for and re-arms, comparisons with their volume and
session, + and -, * and /, the sign of a number. Brackets, and words that begin something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any as Anything
from typing import ClassVar

from functions.market.vocabulary import ALL as SESSIONS
from functions.rules import tree
from functions.rules.checks import (
    KNOWN,
    OPERATORS,
    ORDERS,
    check_counts,
    check_duration,
    check_node,
    check_size,
    check_symbols,
    children_of,
    defaults_of,
    leaves_of,
    metric_named,
    ordered,
    toplist_named,
)
from functions.rules.durations import duration_ns, duration_text
from functions.rules.faults import MISWRITTEN, RuleFault, nearest
from functions.rules.limits import COOLDOWN_MAX_NS, DEPTH_MAX, NESTED_MAX, TIMEFRAMES
from functions.rules.tree import (
    Arithmetic,
    Changed,
    Compare,
    Condition,
    Crosses,
    Number,
    Value,
)
from functions.rules.units import WORDS
from functions.rules.words import ID, SYMBOL, Word, Words, number_of

THEN, OR, AND, NOT, AFTER, COMPARE, ADD, MULTIPLY, SIGN = range(1, 10)
INFIXES = {
    "then": THEN,
    "or": OR,
    "and": AND,
    "held": AFTER,
    "re-arms": AFTER,
    "re-arm": AFTER,
    "rearms": AFTER,
    **dict.fromkeys((*OPERATORS, *MISWRITTEN, "crosses", "changed", "volume", "during"), COMPARE),
    **dict.fromkeys("+-", ADD),
    **dict.fromkeys("*/", MULTIPLY),
}
CLAUSES = ("on", "in", "cooldown", "once")
FUNCTIONS = ("abs", "min", "max")
STARTS = ("not", "all", "any", "first", "enters", "leaves", "in", *FUNCTIONS)
Node = Anything


@dataclass(frozen=True)
class Told:
    """What a text says: the condition, and the rule's clauses where it has them."""

    when: Condition
    symbols: tuple[str, ...] | None = None
    watchlist: str | None = None
    cooldown_ns: int | None = None
    once_per: str | None = None


def parse_text(text: str) -> Told:
    """The condition and the clauses of a text; raises RuleFault, which has a place in it."""
    reader = _Reader(Words(text))
    when = reader.condition(0)
    told = reader.clauses(Told(when))
    reader.whole(when)
    return told


def parse_condition(text: str) -> Condition:
    """A text that has no clauses of a rule; raises RuleFault."""
    reader = _Reader(Words(text))
    when = reader.condition(0)
    reader.end("and, or, then, held for, re-arms, during or the end")
    reader.whole(when)
    return when


def parse_value(text: str) -> Value:
    """A text that is a value: `vwap_live * 1.02`; raises RuleFault."""
    reader = _Reader(Words(text))
    value = reader.value(ADD)
    reader.end("+ - * / or the end")
    reader.whole(value)
    return value


class _Reader:
    """Reads by precedence: what begins something, then all that binds tighter than asked for."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.nested = 0
        self.depths: dict[int, int] = {}  # of nodes with nodes under them
        self.places: dict[int, tuple[Node, int, int]] = {}  # of every node, by its identity

    # -- the whole

    def whole(self, node: Node) -> None:
        self._placed(lambda: check_size(node), 0, len(self.words.text.rstrip()))
        for leaf in leaves_of(node):
            _, start, end = self.places[id(leaf)]
            self._placed(lambda leaf=leaf: defaults_of(leaf), start, end)  # type: ignore[misc]

    def end(self, expected: str, *known: str) -> None:
        word = self.words.peek()
        if word.kind != "end":
            raise self.words.fault(
                expected, word, nearest(word.lower, known or [*INFIXES, *CLAUSES])
            )

    def condition(self, power: int) -> Condition:
        return self._is_condition(self.expression(power))

    def value(self, power: int) -> Value:
        return self._is_value(self.expression(power))

    def expression(self, power: int) -> Node:
        self.nested += 1
        if self.nested > NESTED_MAX:
            raise self.words.fault(f"at most {NESTED_MAX} levels of brackets", self.words.peek())
        start = self.words.peek().start
        node = self._note(self._begin(), start)
        while self._binds(self.words.peek()) >= max(power, THEN):
            node = self._note(self._go_on(node), start)
        self.nested -= 1
        return node

    def _binds(self, word: Word) -> int:
        if word.suffix or (word.lower == "volume" and self.words.after().kind != "sign"):
            return 0
        return INFIXES.get(word.lower, 0)

    # -- what begins something

    def _begin(self) -> Node:
        word = self.words.take()
        if word.kind == "number":
            return self._of_last(word) if self.words.peek().lower == "of" else self._number(word)
        begin = self.BEGINNINGS.get(word.lower)
        if begin is not None and (
            word.lower not in ("all", "any") or self.words.peek().text == "("
        ):
            return begin(self, word)
        if word.kind != "name":
            raise self.words.fault("a condition, a metric or a number", word)
        try:
            return metric_named(word.lower)
        except RuleFault:
            near = nearest(word.lower, [*KNOWN, *STARTS])
            raise self.words.fault("a condition, a metric or a number", word, near) from None

    def _bracket(self, _: Word) -> Node:
        node = self.expression(0)
        self.words.expect(")")
        return node

    def _not(self, _: Word) -> Node:
        return self._made(tree.Not, self.condition(NOT))

    def _parts(self, word: Word) -> Node:
        self.words.expect("(")
        parts = [self.condition(0)]
        while self.words.accept(","):
            parts.append(self.condition(0))
        self.words.expect(")", ",")
        return self._made(tree.All if word.lower == "all" else tree.Any, tuple(parts))

    def _function(self, word: Word) -> Node:
        self.words.expect("(")
        values = [self.value(ADD)]
        while self.words.accept(","):
            values.append(self.value(ADD))
        self.words.expect(")", ",")
        return self._made(Arithmetic, word.lower, tuple(values))

    def _negative(self, _: Word) -> Node:
        word = self.words.peek()
        if word.kind == "number" or word.text == "$":
            self.words.take()
            number = self._number(word) if word.kind == "number" else self._dollars(word)
            return Number(0.0 - number.value, number.unit)
        return self._made(Arithmetic, "negative", (self.value(SIGN),))

    def _dollars(self, _: Word) -> Number:
        sign = -1 if self.words.accept("-") else 1
        word = self.words.take()
        if word.kind != "number":
            raise self.words.fault("a number after $", word)
        number = self._number(word)
        if number.unit not in ("", "usd"):
            raise self.words.fault("dollars alone after $", word)
        return Number(sign * number.value, "usd")

    def _number(self, word: Word) -> Number:
        value, unit = number_of(self.words, word)
        following = self.words.peek()
        is_unit = following.lower in WORDS and following.text != "$"
        if not unit and is_unit:
            unit = WORDS[self.words.take().lower]
        return self._placed(lambda: check_node(Number(value, unit)), word.start, self.words.end)

    def _first(self, _: Word) -> Node:
        self.words.expect("time")
        self.words.expect("today")
        return self._made(tree.FirstToday, self.condition(NOT))

    def _of_last(self, word: Word) -> Node:
        least = self._whole_number(word)
        self.words.expect("of")
        self.words.expect("last")
        bars = self._whole_number(self.words.take())
        self._placed(lambda: check_counts(least, bars), word.start, self.words.end)
        timeframe = "1m"
        if self.words.peek().kind == "number":
            timeframe = self._timeframe()
        self.words.expect("bars", "bar", "candles")
        return self._made(tree.OfLast, self.condition(NOT), least, bars, timeframe)

    def _list(self, word: Word) -> Node:
        told = self.words.peek()
        if told.lower == "watchlist":
            raise self.words.fault("a toplist (a watchlist stands at the end of the rule)", told)
        name = self.words.raw(ID, "a toplist")  # ids of users' lists are no words
        found = self._placed(lambda: toplist_named(name), told.start, self.words.end)
        kinds = {"enters": tree.Enters, "leaves": tree.Leaves, "in": tree.InList}
        return kinds[word.lower](found)

    # -- what goes on

    def _go_on(self, left: Node) -> Node:
        word = self.words.take()
        return self.GOING_ON[word.lower](self, left, word)

    def _several(self, left: Node, word: Word) -> Node:
        parts = [self._is_condition(left), self.condition(INFIXES[word.lower] + 1)]
        while self.words.accept(word.lower):
            parts.append(self.condition(INFIXES[word.lower] + 1))
        return self._made(tree.All if word.lower == "and" else tree.Any, tuple(parts))

    def _then(self, left: Node, _: Word) -> Node:
        first, second = self._is_condition(left), self.condition(OR)
        self.words.expect("within")
        return self._made(tree.Then, first, second, self._duration())

    def _held(self, left: Node, _: Word) -> Node:
        self.words.expect("for")
        return self._made(tree.Held, self._is_condition(left), self._duration())

    def _rearm(self, left: Node, _: Word) -> Node:
        condition = self._is_condition(left)
        if self.words.accept("when"):
            value = self.value(ADD)
        elif isinstance(left, Compare | Crosses):
            value = left.left
        else:
            raise self.words.fault("when, a value, then above or below", self.words.peek())
        direction = self.words.expect("above", "below").lower
        return self._made(tree.Rearm, condition, direction, value, self.value(ADD))

    def _compare(self, left: Node, word: Word) -> Node:
        if word.text in MISWRITTEN:
            raise self.words.fault("one of > < >= <= == !=", word, MISWRITTEN[word.text])
        return self._made(Compare, word.text, self._is_value(left), self.value(ADD))

    def _crosses(self, left: Node, _: Word) -> Node:
        direction = self.words.expect("above", "below").lower
        return self._made(Crosses, direction, self._is_value(left), self.value(ADD))

    def _changed(self, left: Node, _: Word) -> Node:
        self.words.expect("by")
        operator = self.words.expect(*ORDERS).text
        by = self.value(SIGN)
        if not isinstance(by, Number):
            raise self._fault("a number such as 3%", by)
        self.words.expect("in")
        return self._made(Changed, self._is_value(left), operator, by, self._duration())

    def _volume(self, left: Node, word: Word) -> Node:
        leaf = self._leaf(left, word)
        if leaf.guard.volume is not None:
            raise self.words.fault("one volume threshold", word)
        self.words.expect(">=")
        number = self.value(SIGN)
        if not isinstance(number, Number) or number.unit not in ("", "shares"):
            raise self._fault("a number of shares", number)
        return self._made(replace, leaf, guard=replace(leaf.guard, volume=number.value))

    def _during(self, left: Node, word: Word) -> Node:
        leaf = self._leaf(left, word)
        if leaf.guard.sessions is not None:
            raise self.words.fault("`during` once", word)
        sessions: tuple[str, ...] = ()
        if not self.words.accept("all"):
            sessions = (self.words.expect(*SESSIONS, "all").lower,)
            while self.words.peek().text == "," and self.words.after().lower in SESSIONS:
                self.words.take()
                sessions += (self.words.take().lower,)
        return self._made(replace, leaf, guard=replace(leaf.guard, sessions=ordered(sessions)))

    def _leaf(self, node: Node, word: Word) -> Compare | Crosses | Changed:
        if not isinstance(node, Compare | Crosses | Changed):
            raise self.words.fault(f"a comparison before {word.lower}", word)
        return node

    def _operation(self, left: Node, word: Word) -> Node:
        right = self.value(INFIXES[word.text] + 1)
        return self._made(Arithmetic, word.text, (self._is_value(left), right))

    # -- clauses of the rule

    def clauses(self, told: Told) -> Told:
        """What may stand once each after the condition."""
        found: dict[str, Anything] = {}
        while self.words.peek().lower in CLAUSES:
            word = self.words.take()
            name, value = self.CLAUSE[word.lower](self)
            if name in found:
                raise self.words.fault(f"{word.lower} once", word)
            found[name] = value
        more = "" if found else "and, or, then, held for, re-arms, during, "
        self.end(
            f"{more}on, in watchlist, cooldown, once per or the end", *(CLAUSES if found else ())
        )
        return replace(told, **found)

    def _on(self) -> tuple[str, tuple[str, ...]]:
        symbols = [self.words.raw(SYMBOL, "a symbol")]
        while self.words.accept(","):
            symbols.append(self.words.raw(SYMBOL, "a symbol"))
        return "symbols", check_symbols(symbols)

    def _in(self) -> tuple[str, str]:
        self.words.expect("watchlist")
        return "watchlist", self.words.raw(ID, "the id of a watchlist")

    def _cooldown(self) -> tuple[str, int]:
        return "cooldown_ns", self._duration(COOLDOWN_MAX_NS)

    def _once(self) -> tuple[str, str]:
        self.words.expect("per")
        timeframe = self._timeframe() if self.words.peek().kind == "number" else "1m"
        self.words.expect("bar", "candle")
        return "once_per", timeframe

    # -- small things

    def _duration(self, most_ns: int | None = None) -> int:
        word = self.words.take()
        suffix = word.suffix
        if word.kind == "number" and not suffix and self.words.peek().kind == "name":
            suffix = self.words.take().lower
        found = duration_ns(word.text, suffix.lower()) if word.kind == "number" and "e" not in word.text.lower() else None  # fmt: skip
        if found is None:
            raise self.words.fault("a duration such as 20s, 5m, 2h or 1d", word)
        if most_ns is None:
            self._placed(lambda: check_duration(found), word.start, self.words.end)
        elif found > most_ns:
            raise self.words.fault(f"a duration up to {duration_text(most_ns)}", word)
        return found

    def _timeframe(self) -> str:
        word = self.words.take()
        found = (
            "60m" if word.text + word.suffix.lower() == "1h" else word.text + word.suffix.lower()
        )
        if found not in TIMEFRAMES:
            raise self.words.fault(f"a timeframe: {' '.join(TIMEFRAMES)}", word)
        return found

    def _whole_number(self, word: Word) -> int:
        if word.kind != "number" or word.suffix or not word.text.isdigit() or len(word.text) > 6:
            raise self.words.fault("a whole number", word)
        return int(word.text)

    def _is_condition(self, node: Node) -> Condition:
        if isinstance(node, Value):
            raise self._fault("a condition, such as price > 5", node)
        return node

    def _is_value(self, node: Node) -> Value:
        if not isinstance(node, Value):
            raise self._fault("a value, such as price or 5", node)
        return node

    def _fault(self, expected: str, node: Node) -> RuleFault:
        _, start, end = self.places[id(node)]
        kind = "a value" if isinstance(node, Value) else "a condition"
        text = self.words.text
        return RuleFault(
            expected, f"{kind}: {text[start:end][:64]}", text=text, start=start, end=end
        )

    def _note(self, node: Node, start: int) -> Node:
        self.places[id(node)] = (node, start, self.words.end)
        return node

    def _made(self, make: Callable[..., Node], *parts: Anything, **named: Anything) -> Node:
        """A node that was checked; what is wrong with it is shown at its last part."""
        whole = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
        known = [self.places[id(part)] for part in whole if id(part) in self.places]
        start = known[-1][1] if known else self.words.end
        return self._placed(lambda: self._fits(make(*parts, **named)), start, self.words.end)

    def _fits(self, node: Node) -> Node:
        """The node, neither too deep nor one too many: no walk of it recurses too far."""
        depth = 1 + max((self.depths.get(id(child), 1) for child in children_of(node)), default=0)
        self.depths[id(node)] = depth
        if depth > DEPTH_MAX:
            raise RuleFault(f"at most {DEPTH_MAX} levels", "a deeper rule")
        return check_node(node)

    def _placed(self, work: Callable[[], Node], start: int, end: int) -> Node:
        try:
            return work()
        except RuleFault as fault:
            raise fault.at(self.words.text, start, end) from None

    # -- which word begins what, and goes on with what

    BEGINNINGS: ClassVar[dict[str, Callable[..., Node]]] = {
        "(": _bracket,
        "-": _negative,
        "$": _dollars,
        "not": _not,
        "all": _parts,
        "any": _parts,
        "first": _first,
        **dict.fromkeys(FUNCTIONS, _function),
        **dict.fromkeys(("enters", "leaves", "in"), _list),
    }
    GOING_ON: ClassVar[dict[str, Callable[..., Node]]] = {
        "then": _then,
        "held": _held,
        "crosses": _crosses,
        "changed": _changed,
        "volume": _volume,
        "during": _during,
        **dict.fromkeys(("and", "or"), _several),
        **dict.fromkeys(("re-arms", "re-arm", "rearms"), _rearm),
        **dict.fromkeys((*OPERATORS, *MISWRITTEN), _compare),
        **dict.fromkeys("+-*/", _operation),
    }
    CLAUSE: ClassVar[dict[str, Callable[..., tuple[str, Anything]]]] = {
        "on": _on,
        "in": _in,
        "cooldown": _cooldown,
        "once": _once,
    }
