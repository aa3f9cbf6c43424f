"""A snapshot: an index of blocks of bytes, known by their content, and the bytes of those not saved before.

A column is cut into blocks in the order in which it lies in memory. A block that the snapshot before
has is referred to, wherever it lies; the others are written, together, as one blob. A blob that no
index refers to is removed; when too much of the blobs is dead, the emptiest are written anew.

    format     of the index
    columns    [{name, dtype, shape, rows, lines (of a block), blocks (numbers in `blocks`)}, ...]
    blocks     [[hash, blob, start, size], ...]
    blobs      {blob: size, ...}
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.state import Stored

Array = NDArray[Any]

FORMAT = 2  # 1 had whole columns
HASH_BYTES = 16
# 12 minutes of a ring of 640 symbols: a save writes little around the minute that changed, and an
# index of 47 MB of state has 50 KB. A larger state gets larger blocks: its index is one message.
BLOCK_BYTES = 64 << 10
BLOCKS_MAX = 4_096  # of BLOCK_BYTES; an index entry has some 30 bytes, a message at most 1 MiB
DEAD_SHARE_MAX = 0.5  # dead bytes of blobs for each live one: a full bucket against rewriting
DEAD_BYTES_MIN = 1 << 20  # less is not worth a rewrite
CHUNK_BYTES = 512 << 10  # a snapshot message; well below the 1 MiB of a stream message
# A take-over reads each blob with a request of its own: few, and a quarter of what its bytes need anyway.
BLOBS_MIN = 4
BLOB_BYTES_MEAN = 4 * CHUNK_BYTES


class Damaged(ValueError):
    """Saved bytes are missing or are not those that were saved."""


@dataclass(frozen=True)
class Snapshot:
    """A chain's state: an index, and the blob that it adds to those of the snapshot before."""

    meta: dict[str, Any]
    blob_id: str
    blob: bytes


def blobs_of(meta: Mapping[str, Any]) -> dict[str, int]:
    """The blobs a snapshot's index refers to, with their sizes."""
    return dict(meta["blobs"])


def chunks_of(blob: bytes) -> list[bytes]:
    """A blob in messages of at most CHUNK_BYTES; an empty blob is one empty message."""
    return [blob[start : start + CHUNK_BYTES] for start in range(0, max(len(blob), 1), CHUNK_BYTES)]


# -- packing


def pack(
    columns: Mapping[str, Stored | str],
    blob_id: str,
    previous: Mapping[str, Any] | None = None,
    is_next: bool = False,
) -> Snapshot:
    """Columns and texts by name as a snapshot.

    previous    the index of a snapshot whose blobs may be referred to
    is_next     since `previous`, rings were written only where `Stored.written` says so
    """
    block_bytes = _block_bytes(columns)
    packer = _Packer(blob_id, previous)
    known = packer.hashes() if is_next else {}
    entries = []
    for name, column in columns.items():
        cut = _cut(name, column, block_bytes)
        entries.append((cut.entry, packer.add(cut, _unwritten(cut, known.get(name)))))
    packer.compact()
    return Snapshot(packer.index(entries), blob_id, b"".join(packer.parts))


@dataclass(frozen=True)
class _Cut:
    """A column and how it is cut."""

    entry: dict[str, Any]  # of the index, without blocks
    values: Array
    written: Array | None

    @property
    def blocks(self) -> int:
        """How many."""
        return math.ceil(len(self.values) / int(self.entry["lines"]))

    def raw(self, block: int) -> bytes:
        """The bytes of a block."""
        lines = self.entry["lines"]
        return self.values[block * lines : (block + 1) * lines].tobytes()


def _cut(name: str, column: Stored | str, block_bytes: int) -> _Cut:
    dtype, rows, written = "text", None, None
    if isinstance(column, str):
        values: Array = np.frombuffer(column.encode(), dtype=np.uint8)
    else:
        values, rows, written = column.values, column.rows, column.written
        dtype = values.dtype.str
    shape = list(values.shape)
    line_bytes = values.dtype.itemsize * math.prod(shape[1:])
    lines = max(1, block_bytes // line_bytes)
    entry = {"name": name, "dtype": dtype, "shape": shape, "rows": rows, "lines": lines}
    return _Cut(entry, values, written)


def _block_bytes(columns: Mapping[str, Stored | str]) -> int:
    total = sum(one.values.nbytes for one in columns.values() if isinstance(one, Stored))
    size = BLOCK_BYTES
    while size * BLOCKS_MAX < total:
        size *= 2
    return size


_Known = tuple[Mapping[str, Any], list[bytes]]  # a column of the snapshot before and its hashes


def _unwritten(cut: _Cut, known: _Known | None) -> dict[int, bytes]:
    """The hashes of the blocks into which nobody wrote since they were saved, by block."""
    if known is None or cut.written is None:
        return {}
    before, hashes = known
    if any(before[name] != cut.entry[name] for name in ("dtype", "shape", "lines")):
        return {}  # it grew: its bytes lie elsewhere
    starts = np.arange(0, len(cut.values), cut.entry["lines"])
    clean = np.flatnonzero(~np.logical_or.reduceat(cut.written, starts))
    return {block: hashes[block] for block in clean.tolist()}


@dataclass(frozen=True)
class _Place:
    """Where the bytes of a block lie."""

    blob: str
    start: int
    size: int


class _Packer:
    """Finds a place for each block: in a blob of the snapshot before, or in the new one."""

    def __init__(self, blob_id: str, previous: Mapping[str, Any] | None) -> None:
        self.parts: list[bytes] = []  # of the new blob
        self._size = 0
        self._blob_id = blob_id
        self._previous = previous
        self._sizes = blobs_of(previous) if previous else {}
        self._stored = {
            digest: _Place(blob, start, size)
            for digest, blob, start, size in (previous["blocks"] if previous else ())
        }
        self._places: dict[bytes, _Place] = {}
        self._sources: dict[bytes, tuple[_Cut, int]] = {}

    def hashes(self) -> dict[str, _Known]:
        """Every column of the snapshot before, with the hashes of its blocks."""
        if self._previous is None:
            return {}
        all_hashes = [one[0] for one in self._previous["blocks"]]
        return {
            one["name"]: (one, [all_hashes[number] for number in one["blocks"]])
            for one in self._previous["columns"]
        }

    def add(self, cut: _Cut, unwritten: Mapping[int, bytes]) -> list[bytes]:
        """Have a place for every block of a column; their hashes."""
        digests = []
        for block in range(cut.blocks):
            digest, raw = unwritten.get(block), b""
            if digest is None:
                raw = cut.raw(block)
                digest = _hash(raw)
            digests.append(digest)
            if digest in self._places:
                continue
            self._sources[digest] = cut, block
            if digest in self._stored:
                self._places[digest] = self._stored[digest]
            else:
                self._write(digest, raw)
        return digests

    def _write(self, digest: bytes, raw: bytes) -> None:
        self._places[digest] = _Place(self._blob_id, self._size, len(raw))
        self.parts.append(raw)
        self._size += len(raw)

    def compact(self) -> None:
        """Write what lives in the emptiest blobs anew while too much of the blobs is dead."""
        live: Counter[str] = Counter()
        for place in self._places.values():
            live[place.blob] += place.size
        dead_max = max(DEAD_BYTES_MIN, DEAD_SHARE_MAX * live.total())
        blobs_max = BLOBS_MIN + live.total() // BLOB_BYTES_MEAN
        del live[self._blob_id]
        dead = sum(self._sizes[blob] - live[blob] for blob in live)
        emptied: set[str] = set()
        for blob in sorted(live, key=lambda blob: live[blob] / self._sizes[blob]):
            if dead <= dead_max and len(live) - len(emptied) < blobs_max:
                break
            emptied.add(blob)
            dead -= self._sizes[blob] - live[blob]
        for digest, place in self._places.items():
            if place.blob in emptied:
                cut, block = self._sources[digest]
                self._write(digest, cut.raw(block))

    def index(self, entries: list[tuple[dict[str, Any], list[bytes]]]) -> dict[str, Any]:
        """The index of the snapshot: of columns, and the hashes of their blocks."""
        sizes = {**self._sizes, self._blob_id: self._size}
        numbers = {digest: number for number, digest in enumerate(self._places)}
        return {
            "format": FORMAT,
            "columns": [
                {**entry, "blocks": [numbers[digest] for digest in digests]}
                for entry, digests in entries
            ],
            "blocks": [
                [digest, place.blob, place.start, place.size]
                for digest, place in self._places.items()
            ],
            "blobs": {place.blob: sizes[place.blob] for place in self._places.values()},
        }


def _hash(raw: bytes | memoryview) -> bytes:
    return hashlib.blake2b(raw, digest_size=HASH_BYTES).digest()


# -- unpacking


def unpack(meta: Mapping[str, Any], blobs: Mapping[str, bytes]) -> dict[str, Any]:
    """The columns and texts of a snapshot; raises ValueError where its format is another, Damaged where bytes are not those saved."""
    if meta.get("format") != FORMAT:
        raise ValueError(
            f"saved state: expected an index of format {FORMAT}, found {meta.get('format', 1)}; "
            "remove the unit's key from the bucket `snapshots` to begin with the first message of "
            "its stream, as docs/operations.md says"
        )
    blocks = []
    for number, (digest, blob, start, size) in enumerate(meta["blocks"]):
        raw = memoryview(blobs[blob])[start : start + size]
        if _hash(raw) != digest:
            raise Damaged(f"snapshot {_owner_of(meta, number)}: checksum differs")
        blocks.append(raw)
    return {one["name"]: _joined(one, blocks) for one in meta["columns"]}


def _owner_of(meta: Mapping[str, Any], number: int) -> str:
    return next(f"column {one['name']}" for one in meta["columns"] if number in one["blocks"])


def _joined(entry: Mapping[str, Any], blocks: list[memoryview]) -> Any:
    raw = b"".join(blocks[number] for number in entry["blocks"])
    if entry["dtype"] == "text":
        return raw.decode()
    values = np.frombuffer(raw, dtype=entry["dtype"]).reshape(entry["shape"])
    return values if entry["rows"] is None else values.T[: entry["rows"]]


def pack_symbols(symbols: list[str]) -> Stored:
    """The symbol list as bytes, so that it is saved like any column."""
    return Stored(np.frombuffer(msgpack.packb(symbols), dtype=np.uint8))


def unpack_symbols(values: Array) -> list[str]:
    """The inverse of `pack_symbols`."""
    return list(msgpack.unpackb(values.tobytes()))
