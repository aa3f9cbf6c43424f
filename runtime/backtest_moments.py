"""What the chains that read the market say of each moment of a backtest, in an order that is the same for any share of the symbols.

A moment is a clock event, or all that lies between two of them. Clock events follow from the whole
market, so moments have the same numbers in every share: what shares say of one is put together and
ordered by what each symbol says alone: by time, then symbol, then as the symbol said it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgpack
import numpy as np

from runtime.chain import Chain, Output
from runtime.frames import Array, Frame, concatenate, texts
from runtime.loader import CLOCK, Plan
from runtime.subjects import Subjects, partition_of

INPUT = "MARKET"
PARTIALS = "toplists.partial"
DEAD = "dead"

Event = tuple[str, Frame]


@dataclass
class Moment:
    """What was fed and said of one moment.

    fed    base subject -> events
    said   (base subject, frame) in the order in which they were said
    dead   the letters of frames that were set aside
    """

    fed: Counter[str] = field(default_factory=Counter)
    said: list[Event] = field(default_factory=list)
    dead: list[dict[str, object]] = field(default_factory=list)


def control_frame(rules: str) -> Frame:
    """A control body as the first event of a backtest."""
    return Frame({"version": np.array([1]), "body": texts([rules])}, source="backtest")


def one_clock_event_a_frame(events: Iterable[Event]) -> Iterator[Event]:
    """What a second makes others say comes back before the next, as it does live."""
    for base, frame in events:
        if base == CLOCK:
            for place in range(len(frame)):
                yield base, frame[place : place + 1]
        else:
            yield base, frame


def of_share(events: Iterable[Event], share: int, shares: int) -> Iterator[Event]:
    """The events of a share of the symbols, and those of no symbol."""
    places: dict[str, int] = {}
    for base, frame in events:
        if frame.symbols is None or frame.index is None:
            yield base, frame
            continue
        for symbol in frame.symbols:
            if symbol not in places:
                places[symbol] = partition_of(symbol, shares)
        is_mine = np.array([places[symbol] == share for symbol in frame.symbols], dtype=bool)
        if is_mine.any():
            yield base, _only(frame, is_mine, frame.index)


def _only(frame: Frame, is_mine: Array, index: Array) -> Frame:
    """The events of some of a frame's symbols; a symbol of another share must not get a row."""
    if is_mine.all():
        return frame
    keep = is_mine[index]
    symbols = [one for one, mine in zip(frame.symbols or (), is_mine.tolist(), strict=True) if mine]
    columns = {name: values[keep] for name, values in frame.columns.items()}
    return Frame(columns, symbols, (np.cumsum(is_mine) - 1)[index[keep]], frame.source)


# -- running


class Market:
    """The chains that read the market, over one share of its symbols."""

    def __init__(self, plan: Plan, subjects: Subjects, wanted: frozenset[str]) -> None:
        """`wanted`: the base subjects whose frames somebody has a use for."""
        self._chains = [
            (one.inputs, Chain(one, subjects, 0, is_published=False))
            for one in plan.chains
            if one.stream == INPUT
        ]
        self._wanted = wanted

    def moments(self, events: Iterable[Event], rules: str) -> Iterator[Moment]:
        """Every moment, in order; also those of which nothing is said. `rules` is a control body."""
        moment = Moment()
        if rules:
            self._feed(moment, "control", control_frame(rules))
        for base, frame in one_clock_event_a_frame(events):
            if base != CLOCK:
                self._feed(moment, base, frame)
                continue
            yield moment
            moment = Moment()
            self._feed(moment, base, frame)
            yield moment
            moment = Moment()
        yield moment

    def _feed(self, moment: Moment, base: str, frame: Frame) -> None:
        moment.fed[base] += len(frame)
        for inputs, chain in self._chains:
            if base in inputs:
                frame.rows_by_symbol = None
                frame.columns.pop("row", None)
                self._note(moment, chain.run_frame(base, frame))

    def _note(self, moment: Moment, outputs: list[Output]) -> None:
        for output in outputs:
            if output.base == DEAD:
                moment.dead.append(msgpack.unpackb(output.data))
            elif output.base in self._wanted and output.frame is not None:
                moment.said.append((output.base, plain(output.frame)))


def plain(frame: Frame) -> Frame:
    """A frame as it was said, without the rows of who said it."""
    columns = {name: column for name, column in frame.columns.items() if name != "row"}
    return Frame(columns, frame.symbols, frame.index, frame.source, frame.sequence)


def says_to_itself(plan: Plan) -> bool:
    """Whether what the market's chains say may come back to them, or rests on all symbols at once."""
    first = [one for one in plan.chains if one.stream == INPUT]
    ranks = any(one.settings.get("toplists") == "rank" for one in plan.functions)
    said = {base for one in first for base in one.writes if ranks or base != PARTIALS}
    read = {base for one in first for base in one.inputs}
    later = [one for one in plan.chains if one.stream != INPUT and said & set(one.inputs)]
    is_whole = any(None in one.partitions for one in first)
    return is_whole or any(read & set(one.writes) for one in later)


# -- putting together


def together(shares: list[Moment], subjects: Subjects, ordered: frozenset[str]) -> Moment:
    """One moment of several shares; frames on `ordered` subjects become one, in an order no share decides.

    What names no symbol is said by every share alike: it is taken of the first.
    """
    whole = Moment()
    for number, share in enumerate(shares):
        whole.fed.update(share.fed)
        whole.dead += share.dead
        whole.said += [one for one in share.said if one[1].index is not None or not number]
    groups: dict[tuple[str, ...], list[Frame]] = {}
    for base, frame in whole.said:
        if base in ordered and frame.index is not None:
            groups.setdefault((base, frame.source, *sorted(frame.columns)), []).append(frame)
    if groups:
        rest = [one for one in whole.said if one[0] not in ordered or one[1].index is None]
        whole.said = rest + [
            (key[0], in_order(concatenate(frames, subjects.record_of(key[0]))))
            for key, frames in sorted(groups.items(), key=lambda one: one[0])
        ]
    return whole


def in_order(frame: Frame) -> Frame:
    """Events by time, then symbol; those of a symbol as they were said.

    Of a symbol that says something of an earlier time after a later one, the later time counts.
    """
    if len(frame) < 2 or frame.index is None or frame.symbols is None:
        return frame
    table = np.array(frame.symbols, dtype=str)
    by_name = np.argsort(np.argsort(table))[frame.index]
    order = np.argsort(by_name, kind="stable")
    if "ts_ns" in frame.columns:
        reached_ns = _reached(frame["ts_ns"][order], by_name[order])
        order = order[np.argsort(reached_ns, kind="stable")]
    ordered: Frame = frame[order]
    return ordered


def _reached(ts_ns: Array, group: Array) -> Array:
    """The newest time so far within each group; groups lie together."""
    reached = ts_ns.copy()
    for start, stop in _stretches(group):
        np.maximum.accumulate(ts_ns[start:stop], out=reached[start:stop])
    return reached


def _stretches(group: Array) -> Iterator[tuple[int, int]]:
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1])).tolist()
    return zip(starts, [*starts[1:], len(group)], strict=True)
