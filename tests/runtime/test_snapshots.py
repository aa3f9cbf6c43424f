"""Snapshots: what comes back is what was saved, and what did not change is not written again."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import snapshots
from runtime.chain import Chain
from runtime.contract import Declaration, function
from runtime.frames import Frame
from runtime.snapshots import Snapshot, Stored, blobs_of, chunks_of, pack, unpack
from runtime.state import Rows, Table, shape_of
from runtime.testing import Harness

SHAPES = {"high": "f8", "minutes": ("f8", 40, "put"), "note": "text", "past.*": ("i4", 9, "put")}


def table_of(symbols: int) -> tuple[Rows, Table]:
    rows = Rows(f"S{k}" for k in range(symbols))
    return rows, Table(rows, {name: shape_of(name, one) for name, one in SHAPES.items()})


def see(rows: Rows, symbols: int) -> None:
    rows.bind(Frame({"ts_ns": np.zeros(1)}, [f"S{k}" for k in range(symbols)], np.zeros(1, int)))


def loaded(snapshot: Snapshot, blobs: dict[str, bytes], symbols: int) -> Table:
    _, table = table_of(symbols)
    table.load(unpack(msgpack.unpackb(msgpack.packb(snapshot.meta)), blobs))
    return table


def same(one: Table, other: Table) -> bool:
    mine, theirs = one.columns(), other.columns()
    return mine.keys() == theirs.keys() and all(
        np.array_equal(mine[name], theirs[name]) for name in mine
    )


class Saved:
    """Snapshots one after the other, and the blobs that the newest needs."""

    def __init__(self) -> None:
        self.newest: Snapshot | None = None
        self.blobs: dict[str, bytes] = {}
        self.count = 0
        self.written = 0

    def save(self, table: Table) -> int:
        self.count += 1
        previous = self.newest.meta if self.newest else None
        self.newest = pack(table.stored(), f"1-{self.count}", previous, is_next=True)
        table.note_saved()
        kept = {**self.blobs, self.newest.blob_id: self.newest.blob}
        self.blobs = {blob: kept[blob] for blob in blobs_of(self.newest.meta)}
        assert all(len(kept[blob]) == size for blob, size in blobs_of(self.newest.meta).items())
        self.written += len(self.newest.blob)
        return len(self.newest.blob)


WRITES = st.tuples(
    st.sampled_from(["put", "put row", "undone", "member", "delete", "high", "note", "grow"]),
    st.integers(0, 49),
    st.integers(0, 8),
)


def write(rows: Rows, table: Table, what: str, row: int, slot: int) -> None:
    if what == "put":
        table.put("minutes", (np.array([row]), np.array([slot])), row + slot)
    elif what == "put row":
        table.put("minutes", row, slot)
    elif what == "undone":
        table.mark(None)
        table.put("minutes", (slice(None), slot), row)
        table.undo()
    elif what == "member":
        table.put("past.x", (row, slot), slot)
    elif what == "delete":
        del table["past.x"]
    elif what == "high":
        table["high"][row] = slot
    elif what == "note":
        table["note"] = str(slot)
    else:
        see(rows, table.rows + row)


@settings(max_examples=60)
@given(st.lists(st.lists(WRITES, max_size=6), min_size=1, max_size=8))
def test_every_snapshot_of_a_row_comes_back_as_the_table_was(saves: list[list[Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "BLOCK_BYTES", 2_000)
        patch.setattr(snapshots, "DEAD_BYTES_MIN", 0)
        rows, table = table_of(50)
        saved = Saved()
        for writes in saves:
            for one in writes:
                write(rows, table, *one)
            saved.save(table)
            assert saved.newest is not None
            assert same(loaded(saved.newest, saved.blobs, table.rows), table)


def test_a_minute_of_all_symbols_is_written_as_the_block_it_lies_in() -> None:
    _, table = table_of(1_000)
    draw = np.random.default_rng(2)
    table.put("minutes", slice(None), draw.random((1_000, 40)))
    saved = Saved()
    whole = saved.save(table)
    assert whole > 320_000
    table.put("minutes", (slice(None), 17), 5.0)
    assert 8_000 <= saved.save(table) <= snapshots.BLOCK_BYTES
    assert saved.save(table) == 0
    assert table.stored()["minutes"].written.sum() == 0  # type: ignore[union-attr]


def test_a_new_symbol_does_not_move_what_was_saved() -> None:
    rows, table = table_of(1_000)
    table.put("minutes", slice(None), np.random.default_rng(2).random((1_000, 40)))
    saved = Saved()
    saved.save(table)
    see(rows, 1_001)
    assert saved.save(table) < 20_000


@pytest.mark.parametrize("is_undone", [False, True])
def test_a_column_that_was_deleted_and_made_again_is_another(is_undone: bool) -> None:
    _, table = table_of(10)
    table.put("past.x", slice(None), 3)
    saved = Saved()
    saved.save(table)
    table.mark(None)
    del table["past.x"]
    assert not table["past.x"].any()
    if is_undone:
        table.undo()
    saved.save(table)
    assert saved.newest is not None
    assert same(loaded(saved.newest, saved.blobs, 10), table)


def test_equal_blocks_are_written_once() -> None:
    _, table = table_of(10_000)
    assert Saved().save(table) < 2 * snapshots.BLOCK_BYTES + 100_000


@pytest.mark.parametrize(("blobs_max", "times_max"), [(12, 2.4), (64, 1.6)])
def test_dead_bytes_and_blobs_have_a_limit(
    monkeypatch: pytest.MonkeyPatch, blobs_max: int, times_max: float
) -> None:
    monkeypatch.setattr(snapshots, "BLOCK_BYTES", 1_024)
    monkeypatch.setattr(snapshots, "DEAD_BYTES_MIN", 0)
    monkeypatch.setattr(snapshots, "BLOBS_MIN", blobs_max)
    _, table = table_of(100)
    draw = np.random.default_rng(3)
    saved, most = Saved(), 0
    for number in range(400):
        table.put("minutes", (slice(None), number % 40), draw.random(100))
        table["high"][:] = draw.random(100)
        saved.save(table)
        stored = sum(len(blob) for blob in saved.blobs.values())
        assert stored <= 1.5 * 42 * 1_024 + 1_024
        most = max(most, len(saved.blobs))
    assert 2 < most <= blobs_max
    changed = 400 * (1_024 + 800)
    assert saved.written < times_max * changed, "rewritten too often"
    assert saved.newest is not None
    assert same(loaded(saved.newest, saved.blobs, 100), table)


def test_a_large_state_is_cut_into_larger_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "BLOCK_BYTES", 1_024)
    monkeypatch.setattr(snapshots, "BLOCKS_MAX", 50)
    values = np.random.default_rng(4).random((2_000, 64))
    meta = pack({f"c{k}": Stored(values + k) for k in range(4)}, "1-1").meta
    assert 25 <= len(meta["blocks"]) <= 54


def test_bytes_that_are_not_those_saved_are_noticed() -> None:
    _, table = table_of(10)
    table["high"][:] = np.arange(10)
    snapshot = pack(table.stored(), "1-1")
    spoiled = bytes([snapshot.blob[0] ^ 1]) + snapshot.blob[1:]
    with pytest.raises(ValueError, match=r"column \w+: checksum differs"):
        unpack(snapshot.meta, {"1-1": spoiled})


def test_an_index_of_another_format_is_refused_with_what_to_do() -> None:
    old = {"columns": [], "blobs": {"1-1": 5}}
    assert blobs_of(old) == {"1-1": 5}
    with pytest.raises(ValueError, match="format 2, found 1; remove the unit's key"):
        unpack(old, {"1-1": b"12345"})


def test_a_blob_is_sent_in_messages_that_a_stream_takes() -> None:
    assert [len(one) for one in chunks_of(bytes((1 << 20) + 5))] == [512 << 10, 512 << 10, 5]
    assert chunks_of(b"") == [b""]


def keeping() -> Declaration:
    @function(reads="ticks.trades", state={"kept": ("f8", 4, "put")})
    def keeper(trades, state):  # type: ignore[no-untyped-def]
        state.put("kept", (trades["row"], trades["size"].astype(int)), trades["price"])

    return keeper


def test_a_snapshot_that_was_not_kept_does_not_hide_what_changed_before_it() -> None:
    h = Harness(keeping())

    def send(slot: int, price: float) -> None:
        h.send("ticks.trades", symbol=["A"], ts_ns=[1], price=[price], size=[float(slot)])

    send(0, 5.0)
    first = h.chain.snapshot("1-1")
    send(1, 6.0)
    h.chain.snapshot("1-2", first.meta)  # refused by the server
    send(2, 7.0)
    third = h.chain.snapshot("1-3", first.meta)
    fresh = Chain(h.plan, h.subjects, h.partition)
    fresh.restore(third.meta, {"1-1": first.blob, "1-3": third.blob})
    assert fresh.table("keeper")["kept"].tolist() == [[5.0, 6.0, 7.0, 0.0]]
    fourth = fresh.snapshot("1-4", third.meta)
    assert len(fourth.blob) == 0
