"""What a vendor's frames hold: events as columns, control messages, what was refused and what nobody knew. Pure.

A frame is an array of objects, or one object, each tagged with its kind. The fast way decodes a whole
frame into typed records; a frame that does not fit goes message by message, so that one broken message
costs itself only, and fields and kinds that a vendor added are counted and ignored.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from runtime.frames import Array
from runtime.providers import Batch
from runtime.providers.numbers import DAY_NS, PRICE_BELOW, UNITS, BadNumber, ns_of_text
from runtime.providers.symbols import is_test, normal

REFUSALS_MAX = 100  # kept with their reason; the others are counted
AUDIT_FRAMES = (
    64  # once fields nobody knows are common, they are looked for in one frame of so many
)
FRAME_BYTES_MAX = 16 << 20
FIXEXT8 = np.dtype([("head", ">u2"), ("value", ">u8")])  # msgpack's timestamp of 64 bits
FIXEXT8_STAMP = 0xD7FF
NANOS_AT, SECONDS, SECOND = np.uint64(34), np.uint64((1 << 34) - 1), np.uint64(10**9)
TIMES = ("t", "created_at")  # fields that are msgpack timestamps in that codec
EPOCH = "1970-01-01T00:00:00"
RFC3339_LEAST = len(EPOCH) + 1


@dataclass(frozen=True)
class Control:
    """What a vendor says of the connection.

    kind  connected, authenticated, subscribed, error, closing, slow (we read too slowly) or other
    code  the vendor's own, as text; see `runtime.providers.trouble`
    """

    kind: str
    code: str = ""
    text: str = ""
    channels: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Parsed:
    """What frames held."""

    batches: list[Batch] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # reasons
    refusals: int = 0
    unknown: Counter[str] = field(default_factory=Counter)  # "kind", or "kind.field"

    def refuse(self, reason: str) -> None:
        """Note a message that is left out."""
        self.refusals += 1
        if len(self.refused) < REFUSALS_MAX:
            self.refused.append(reason)


class SymbolTable:
    """The symbols of a feed in the spelling used here, with the places they have; it only grows."""

    def __init__(self, spelled: Callable[[str], str] = normal) -> None:
        self.symbols: list[str] = []
        self._spelled = spelled
        self._places: dict[str, int] = {}  # by the feed's spelling; -1: a test symbol, left out

    def places(self, raw: Sequence[str]) -> Array:
        """The place of each; -1 for symbols that exchanges test with."""
        try:
            return np.array([self._places[one] for one in raw], dtype=np.int64)
        except KeyError:
            return np.array([self._place(one) for one in raw], dtype=np.int64)

    def _place(self, raw: str) -> int:
        found = self._places.get(raw)
        if found is None:
            found = self._places[raw] = self._new(self._spelled(raw))
        return found

    def _new(self, symbol: str) -> int:
        if is_test(symbol):
            return -1
        if symbol in self.symbols:  # spelled in another way before
            return self.symbols.index(symbol)
        self.symbols.append(symbol)
        return len(self.symbols) - 1


class Reader:
    """Frames of one vendor and codec as typed records.

    kinds   record types (msgspec.Struct with a tag)
    tag     the field that tells the kind
    ignored kinds that are known and carry nothing we use
    """

    def __init__(
        self, kinds: Sequence[type[Any]], tag: str, ignored: Iterable[str] = (), codec: str = "json"
    ) -> None:
        module = msgspec.json if codec == "json" else msgspec.msgpack
        if codec == "msgpack":  # a datetime would lose the nanoseconds
            kinds = [
                _derived(kind, [(name, msgspec.Raw) for name in _times_in(kind)]) for kind in kinds
            ]
        strict = [_derived(kind, forbid_unknown_fields=True) for kind in kinds]
        self._tag, self._ignored = tag, frozenset(ignored)
        self._fields = {
            str(kind.__struct_config__.tag): frozenset(kind.__struct_encode_fields__) | {tag}
            for kind in kinds
        }
        self._all = module.Decoder(list[_union(strict)])  # type: ignore[misc]
        self._some = module.Decoder(list[_union(kinds)])  # type: ignore[misc]
        self._one = module.Decoder(_union(kinds))
        self._raws = module.Decoder(list[msgspec.Raw])
        self._keys = module.Decoder(dict[str, msgspec.Raw])
        self._text = module.Decoder(Any)
        self._audit_in = 0

    def read(self, data: bytes, parsed: Parsed) -> list[Any]:
        """The records of a frame, in order."""
        if len(data) > FRAME_BYTES_MAX:
            parsed.refuse(f"{len(data)} bytes; at most {FRAME_BYTES_MAX}")
            return []
        decoder = self._some if self._audit_in else self._all
        self._audit_in = max(0, self._audit_in - 1)
        try:
            return list(decoder.decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._read_slowly(data, parsed)

    def _read_slowly(self, data: bytes, parsed: Parsed) -> list[Any]:
        """The same, message by message: what the fast way must agree with."""
        try:
            raws = self._raws.decode(data)
        except msgspec.ValidationError:
            raws = [msgspec.Raw(data)]  # one message, not in an array
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            parsed.refuse(f"not a frame: {error}")
            return []
        found = [self._read_one(bytes(raw), parsed) for raw in raws]
        return [one for one in found if one is not None]

    def _read_one(self, raw: bytes, parsed: Parsed) -> Any:
        try:
            fields = self._keys.decode(raw)
            kind = self._text.decode(fields[self._tag]) if self._tag in fields else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            parsed.refuse(f"not a message: {error}")
            return None
        if not isinstance(kind, str):
            parsed.refuse(f"expected a text in {self._tag}, found {kind!r}")
            return None
        if kind not in self._fields:
            if kind not in self._ignored:
                parsed.unknown[kind[:64]] += 1
            return None
        more = fields.keys() - self._fields[kind]
        parsed.unknown.update(f"{kind}.{name[:64]}" for name in more)
        try:
            record = self._one.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            parsed.refuse(f"{kind}: {error}")
            return None
        self._audit_in = AUDIT_FRAMES if more else 0
        return record


def _times_in(kind: type[Any]) -> list[str]:
    return [one for one in TIMES if one in kind.__struct_fields__]


def _derived(kind: type[Any], fields: Sequence[tuple[str, Any]] = (), **more: Any) -> type[Any]:
    """The same record with other fields, or stricter."""
    config = kind.__struct_config__
    tags = {"tag": config.tag, "tag_field": config.tag_field}
    return msgspec.defstruct(
        kind.__name__, fields, bases=(kind,), **tags, **more, gc=False, kw_only=True
    )


def _union(kinds: Sequence[type[Any]]) -> Any:
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    return union


# -- columns


@dataclass
class Columns:
    """Events of one kind on their way into a batch: what is refused falls out of all columns."""

    kind: str
    columns: dict[str, Array]
    places: Array
    is_good: Array | None = None  # None: all are

    def check(self, parsed: Parsed, is_good: Array, expected: str, found: Array) -> None:
        """Refuse events; the reason says what was expected of the first and how many there are."""
        if is_good.all():
            return
        if self.is_good is None:
            self.is_good = np.ones(len(self.places), dtype=bool)
        bad = self.is_good & ~is_good
        if bad.any():
            first = int(np.argmax(bad))
            value = found[first]
            for _ in range(int(bad.sum())):
                parsed.refuse(f"{self.kind}: expected {expected}, found {value}")
            self.is_good = self.is_good & is_good

    def batch(self, table: SymbolTable) -> Batch | None:
        """What is left, None without."""
        keep = self.places >= 0
        if self.is_good is not None:
            keep &= self.is_good
        if keep.all():
            return Batch(self.kind, self.columns, table.symbols, self.places) if len(keep) else None
        if not keep.any():
            return None
        columns = {name: values[keep] for name, values in self.columns.items()}
        return Batch(self.kind, columns, table.symbols, self.places[keep])


OHLC = ("open", "high", "low", "close")
# Of every kind: columns that are prices, and that are sizes.
CHECKED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "trades": (("price",), ("size",)),
    "quotes": (("bid", "ask"), ("bid_size", "ask_size")),
    **dict.fromkeys(("bars", "days", "seconds", "other_bars"), (OHLC, ("volume",))),
}


def checked(
    kind: str, places: Array, columns: dict[str, Array], parsed: Parsed, received_ns: int
) -> Columns:
    """Events of one kind with what is impossible refused; 0 for `received_ns`: it is not known."""
    events = columns_of(kind, places, columns)
    check_times(events, parsed, received_ns)
    prices, sizes = CHECKED.get(kind, ((), ()))
    check_prices(events, parsed, *prices, is_none_allowed=kind == "quotes")
    check_sizes(events, parsed, *sizes)
    return events


def columns_of(kind: str, places: Array, columns: dict[str, Array]) -> Columns:
    """Events that are all good so far."""
    return Columns(kind, columns, places)


def check_prices(
    events: Columns, parsed: Parsed, *names: str, is_none_allowed: bool = False
) -> None:
    """Refuse prices that are none; of quotes 0 means that nobody offers."""
    for name in names:
        price = events.columns[name]
        with np.errstate(invalid="ignore"):
            good = (price >= 0 if is_none_allowed else price > 0) & (price < PRICE_BELOW)
        least = "from 0" if is_none_allowed else "above 0"
        events.check(parsed, good, f"{name} {least} and below {PRICE_BELOW:.0f}", price)


def check_sizes(events: Columns, parsed: Parsed, *names: str) -> None:
    """Refuse sizes below 0 or not finite."""
    for name in names:
        size = events.columns[name]
        with np.errstate(invalid="ignore"):
            events.check(parsed, (size >= 0) & (size < np.inf), f"{name} from 0", size)


def check_times(events: Columns, parsed: Parsed, received_ns: int) -> None:
    """Refuse times more than a day from their receipt, as a wrong unit would be; 0: it is not known."""
    times = events.columns["ts_ns"]
    good = times > 0
    if received_ns:
        good = good & (np.abs(times - received_ns) <= DAY_NS)
    events.check(parsed, good, f"a time within a day of {received_ns or 'today'}", times)
    if received_ns and events.kind in ("trades", "quotes"):
        events.columns["recv_ns"] = np.full(len(times), received_ns, dtype=np.int64)


def floats(values: Iterable[Any]) -> Array:
    """Numbers or texts of numbers as f8; what is none becomes NaN."""
    listed = list(values)
    try:
        return np.array(listed, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return np.array([_float(one) for one in listed])


def _float(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return float("nan")


def whole(values: Iterable[Any]) -> Array:
    """Ids as i8; what is no whole number that fits becomes 0."""
    listed = list(values)
    try:
        return np.array(listed, dtype=np.int64)
    except (ValueError, TypeError, OverflowError):
        return np.array([_whole(one) for one in listed], dtype=np.int64)


def _whole(value: Any) -> int:
    try:
        found = int(value)
    except (ValueError, TypeError, OverflowError):
        return 0
    return found if -(1 << 63) <= found < 1 << 63 else 0


def times_of_texts(texts: Sequence[str]) -> Array:
    """RFC 3339 times as ns since 1970; 0 where a text is none."""
    with contextlib.suppress(TypeError, ValueError):  # one of them is none: found below
        if all(one[-1:] == "Z" and RFC3339_LEAST <= len(one) <= 30 for one in texts):
            return np.array([one[:-1] for one in texts], dtype="datetime64[ns]").astype(np.int64)
    return np.array([_time(one) for one in texts], dtype=np.int64)


def _time(text: Any) -> int:
    try:
        return ns_of_text(str(text))
    except BadNumber:
        return 0


def times_of_stamps(stamps: Sequence[msgspec.Raw]) -> Array:
    """msgpack timestamps as they were sent (extension -1, or a text) as ns since 1970; 0 where one is none."""
    joined = b"".join(stamps)
    if len(joined) == FIXEXT8.itemsize * len(stamps):
        told = np.frombuffer(joined, FIXEXT8)
        if (
            told["head"] == FIXEXT8_STAMP
        ).all():  # each is whole, so that the next begins behind it
            value = told["value"].astype(np.uint64)
            return ((value & SECONDS) * SECOND + (value >> NANOS_AT)).view(np.int64)
    return np.array([_stamp(one) for one in stamps], dtype=np.int64)


def _stamp(raw: msgspec.Raw) -> int:
    try:
        stamp = msgspec.msgpack.decode(raw, type=msgspec.msgpack.Ext | str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0
    if isinstance(stamp, str):
        return _time(stamp)
    data = bytes(stamp.data)
    if stamp.code != -1:
        return 0
    if len(data) == 8:
        value = int.from_bytes(data, "big")
        return (value & ((1 << 34) - 1)) * 10**9 + (value >> 34)
    if len(data) == 4:
        return int.from_bytes(data, "big") * 10**9
    if len(data) == 12:
        seconds = int.from_bytes(data[4:], "big", signed=True)
        return seconds * 10**9 + int.from_bytes(data[:4], "big")
    return 0


def times_of_numbers(values: Sequence[Any]) -> Array:
    """Times in s, ms, us or ns, told apart by magnitude, as ns since 1970; 0 where one is none."""
    number = whole(values)
    out = np.zeros(len(number), dtype=np.int64)
    least = 0
    for below, unit_ns in UNITS:
        here = (number > least) & (number < min(below, 9_200_000_000_000_000_000))
        out[here] = number[here] * unit_ns
        least = below - 1
    return out
