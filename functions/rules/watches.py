"""Conditions that remember: what they know of each symbol, moved on by every moment of their rule.

What a moment leaves behind, per condition and symbol (0 is always: nothing known yet):

    code   crosses, enters, leaves: what their inside was    rearm: 1 off, 2 on
           then: 1 + what its inside was (first + 3 * second)
    ns     held: 1 = was false, +t = true since t, -t = true since t, and not known before
           then: when first turned true                      first today: the day it was said
           of the last: candles counted, plus 1              changed: first and newest sample
    bits   of the last: at which of the last 64 closes it was true, and at which false
    ring   changed: the newest value known at the end of each of the last sixtieths

    condition     what breaks it                          unknown
    crosses       another stretch, an unknown moment      now unknown; now across, and not known before
    held          the same, and false                     not long enough, and not known before
    then          another stretch                         second unknown
    first today   -                                       condition unknown, and not said today
    of the last   -                                       closes not known could decide it
    changed       another stretch                         no value so long ago
    rearm         -                                       never on and never off so far; off, and
                                                          condition unknown
    enters leaves an unknown moment                       list unknown; now in, and not known before
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market.running import runs_from
from functions.rules import tree
from functions.rules.compile import Node
from functions.rules.evaluate import FALSE, OPERATORS, TRUE, UNKNOWN, Pass
from functions.rules.kept import RING, SIXTIETHS

Array = NDArray[Any]


def watch(asked: Pass, places: Iterable[int]) -> None:
    """Move conditions of a rule on, those they rest on first."""
    for place in places:
        node = asked.rules.nodes[place]
        asked.keep(place, *WATCHES[node.kind](asked, node))


def _turned(asked: Pass, node: Node) -> tuple[Array, Array]:
    """True where the inside was false and is true: crosses, enters, leaves."""
    m, name = asked.moments, f"code.{node.key}"
    code = asked.code(node.parts[0])
    before = m.before(asked.carry(name), code)
    if node.kind is tree.Crosses:
        before = np.where(asked.is_new(node.is_timed), np.uint8(UNKNOWN), before)
    asked.leave(name, m.lasts(code))
    is_true = code == TRUE
    return is_true & (before == FALSE), (code == FALSE) | (is_true & (before == TRUE))


def _held(asked: Pass, node: Node) -> tuple[Array, Array]:
    m, name = asked.moments, f"ns.{node.key}"
    code, carry = asked.code(node.parts[0]), asked.carry(name)
    is_true = code == TRUE
    known = np.where(np.abs(carry) > 1, TRUE, carry).astype(np.uint8)
    before = np.where(asked.is_new(node.is_timed), np.uint8(UNKNOWN), m.before(known, code))
    begins = is_true & (before != TRUE)
    value = np.where(is_true, np.where(before == FALSE, m.ts_ns, -m.ts_ns), code)
    since = m.filled(~is_true | begins, value, carry)
    asked.leave(name, m.lasts(since))
    lasted = m.ts_ns - np.abs(since)
    asked.told[node.key] = np.where(is_true, lasted, 0)
    is_long = lasted >= node.leaf.for_ns
    return is_true & is_long, (code == FALSE) | (is_true & ~is_long & (since > 0))


def _rearm(asked: Pass, node: Node) -> tuple[Array, Array]:
    m, name = asked.moments, f"code.{node.key}"
    code, back = asked.code(node.parts[0]), asked.code(node.parts[1])
    is_set = (code == TRUE) | (back == TRUE)
    value = np.where(code == TRUE, np.uint8(TRUE), np.uint8(FALSE))
    latch = m.filled(is_set, value, asked.carry(name))
    asked.leave(name, m.lasts(latch))
    return latch == TRUE, (latch == FALSE) & (code == FALSE)


def _first_today(asked: Pass, node: Node) -> tuple[Array, Array]:
    m, name = asked.moments, f"ns.{node.key}"
    code, carry = asked.code(node.parts[0]), asked.carry(name)
    said = m.filled(code == TRUE, m.day, carry)
    asked.leave(name, m.lasts(said))
    was_said = m.before(carry, said) == m.day
    return (code == TRUE) & ~was_said, (code == FALSE) | was_said


def _then(asked: Pass, node: Node) -> tuple[Array, Array]:
    """The first success since each turn of `first` is the pulse; it uses the turn up."""
    m, name = asked.moments, f"code.{node.key}"
    first, second = asked.code(node.parts[0]), asked.code(node.parts[1])
    both = first + np.uint8(3) * second + np.uint8(1)
    before = m.before(asked.carry(name), both)
    asked.leave(name, m.lasts(both))
    was = np.maximum(before, 1) - 1
    opens = (first == TRUE) & (was % 3 != TRUE)
    turns = (second == TRUE) & (was // 3 != TRUE)
    fresh = asked.is_new(node.is_timed)
    name = f"ns.{node.key}"
    carry = asked.carry(name)
    # What is open after each moment, and before it, as if no pulse used anything up.
    is_set, value = opens | fresh, np.where(opens, m.ts_ns, 0)
    after = m.filled(is_set, value, carry)
    since = np.where(fresh, 0, m.before(carry, after))
    asked.told[node.key] = np.where(since > 0, m.ts_ns - since, np.nan)
    hits = turns & (since > 0) & (m.ts_ns - since <= node.leaf.within_ns)
    pulse = _first_of(asked, hits, is_set)
    used = m.filled(is_set | pulse, np.where(opens, m.ts_ns, 0), carry)
    asked.leave(name, m.lasts(used))
    return pulse, (second != UNKNOWN) & ~pulse


def _first_of(asked: Pass, hits: Array, is_set: Array) -> Array:
    """Of the hits that rest on the same setting (or on what a run began with), the first."""
    m = asked.moments
    if m.is_single:
        return hits
    begins = np.zeros(len(m), dtype=bool)
    begins[m.runs.starts] = True
    begins[1:] |= is_set[:-1]  # a moment rests on what was set before it, not at it
    group = np.cumsum(begins)
    places = np.flatnonzero(hits)
    found = np.zeros(len(m), dtype=bool)
    found[places[np.diff(group[places], prepend=0) != 0]] = True
    return found


def _of_last(asked: Pass, node: Node) -> tuple[Array, Array]:
    """A candle's close is the first moment at which it is counted; candles in between are unknown."""
    m, leaf = asked.moments, node.leaf
    code = asked.code(node.parts[0])[m.runs.starts]
    if m.candles is None:
        return asked.nowhere, asked.nowhere
    count = m.candles(leaf.timeframe)[m.runs.starts] + 1
    carry = asked.carry(f"ns.{node.key}")
    closed = np.where(carry > 0, np.maximum(count - carry, 0), 0)
    shown = []
    for part, said in (("true", TRUE), ("false", FALSE)):
        bits = _shifted(asked.carry(f"bits.{node.key}.{part}"), closed)
        bits |= ((closed > 0) & (code == said)).astype(np.uint64)
        asked.leave(f"bits.{node.key}.{part}", bits)
        shown.append(_count(bits & np.uint64((1 << leaf.bars) - 1)))
    asked.leave(f"ns.{node.key}", np.maximum(count, carry))
    asked.told[node.key] = m.spread(shown[0])
    is_true, is_false = shown[0] >= leaf.at_least, leaf.bars - shown[1] < leaf.at_least
    return m.spread(is_true), m.spread(is_false)


def _shifted(bits: Array, by: Array) -> Array:
    small = np.minimum(by, 63).astype(np.uint64)
    return np.where(by < 64, bits << small, np.uint64(0))


def _count(bits: Array) -> Array:
    """How many bits are set (numpy before 2.0 has no function for it)."""
    pairs, quads, bytes_ = (np.uint64(one) for one in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F))  # fmt: skip
    bits = bits - ((bits >> np.uint64(1)) & pairs)
    bits = (bits & quads) + ((bits >> np.uint64(2)) & quads)
    bits = (bits + (bits >> np.uint64(4))) & bytes_
    return ((bits * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)


def _changed(asked: Pass, node: Node) -> tuple[Array, Array]:
    """Sixtieths are counted from 1970; a window of `within_ns` that does not divide is rounded up."""
    leaf, value = node.leaf, asked.value(node.value)
    if asked.may is not None:
        value = np.where(asked.may, value, np.nan)
    base = _then_value(asked, node, value)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        change = value - base
        if leaf.by.unit == "percent":
            change = 100.0 * change / base
    change[~np.isfinite(change)] = np.nan
    asked.told[node.key] = change
    known, held = np.isfinite(change), asked.guard(node.volume, node.sessions)
    known = known if held is None else known & held
    holds = OPERATORS[leaf.operator](change, np.float64(leaf.by.value)) & known
    return holds, known & ~holds


def _then_value(asked: Pass, node: Node, value: Array) -> Array:
    """The value one window ago at every moment; the ring moves on."""
    m = asked.moments
    number = m.ts_ns // -(-node.leaf.within_ns // SIXTIETHS)
    fresh = asked.is_new(node.is_timed)
    segments, nth = _segments(asked, number, fresh)
    place = np.maximum.accumulate(np.where(np.isfinite(value), np.arange(len(m)), -1))
    newest_place = place[segments.lasts]
    found = np.where(newest_place >= segments.starts, value[np.maximum(newest_place, 0)], np.nan)
    base = np.empty(len(segments.rows))
    for turn in range(int(nth.max(initial=-1)) + 1):
        mine = np.flatnonzero(nth == turn)
        row, start = segments.rows[mine], segments.starts[mine]
        base[mine] = _moved_on(asked, node.key, row, number[start], fresh[start], found[mine])
    return base[segments.of]


def _segments(asked: Pass, number: Array, fresh: Array) -> tuple[Any, Array]:
    """Moments of one symbol in one sixtieth of one stretch; which of its symbol's each is."""
    m = asked.moments
    if m.is_single:
        return m.runs, np.zeros(len(m), dtype=np.int64)
    begins = fresh.copy()
    begins[m.runs.starts] = True
    begins[1:] |= number[1:] != number[:-1]
    segments = runs_from(m.runs, begins)
    of_run = m.runs.of[segments.starts]
    first = np.searchsorted(of_run, of_run)
    return segments, np.arange(len(of_run)) - first


def _moved_on(
    asked: Pass, key: str, row: Array, number: Array, fresh: Array, found: Array
) -> Array:
    """Values one window before sixtieths `number`; then these are entered (NaN: nothing new)."""
    state, ring_name = asked.state, f"ring.{key}"
    first_name, newest_name = f"ns.{key}.first", f"ns.{key}.newest"
    if asked.is_peek and ring_name not in state:
        return np.full(len(row), np.nan)
    ring = state[ring_name]
    first = np.where(fresh, 0, state[first_name][row])
    newest = np.where(fresh, 0, state[newest_name][row])
    number = np.maximum(number, newest)
    wanted = number - SIXTIETHS - 1
    known = (first > 0) & (first <= wanted)
    base = np.where(known, ring[row, np.minimum(wanted, newest) % RING], np.nan)
    if asked.is_peek:
        return base
    last = ring[row, newest % RING]
    behind = np.where(first > 0, np.minimum(number - newest, RING), 0)
    for back in range(int(behind.max(initial=0))):
        mine = np.flatnonzero(behind > back)
        state.put(ring_name, (row[mine], (number[mine] - back) % RING), last[mine])
    news = np.flatnonzero(np.isfinite(found))
    state.put(ring_name, (row[news], number[news] % RING), found[news])
    is_first = (first == 0) & np.isfinite(found)
    first = np.where(is_first, number, first)
    state[first_name][row] = first
    state[newest_name][row] = np.where(first > 0, number, 0)
    return base


WATCHES: dict[type, Callable[[Pass, Node], tuple[Array, Array]]] = {
    tree.Crosses: _turned,
    tree.Enters: _turned,
    tree.Leaves: _turned,
    tree.Held: _held,
    tree.Rearm: _rearm,
    tree.FirstToday: _first_today,
    tree.Then: _then,
    tree.OfLast: _of_last,
    tree.Changed: _changed,
}
