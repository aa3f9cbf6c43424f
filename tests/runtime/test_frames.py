"""Frames: what is encoded comes back; what is wrong is refused with a reason."""

from __future__ import annotations

import json

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.frames import (
    FRAME_BYTES_MAX,
    BadFrame,
    Frame,
    concatenate,
    decode,
    encode,
    encode_parts,
    texts,
)
from runtime.subjects import Subjects, load_subjects
from tests.conftest import ROOT

SUBJECTS = load_subjects(ROOT / "subjects.yaml")
TRADES = SUBJECTS.record("trades")
PRICES = st.floats(1e-6, 1e9)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["A", "BRK.B", "Ω"]), st.integers(1, 2**62), PRICES, st.floats(0, 1e9)
    ),
    min_size=1,
    max_size=50,
)


def frame_of(rows: list[tuple[str, int, float, float]]) -> Frame:
    symbols = list(dict.fromkeys(row[0] for row in rows))
    return Frame(
        {
            "ts_ns": np.array([row[1] for row in rows]),
            "price": np.array([row[2] for row in rows]),
            "size": np.array([row[3] for row in rows]),
        },
        symbols,
        np.array([symbols.index(row[0]) for row in rows]),
        "test",
        7,
    )


@given(ROWS)
def test_what_is_encoded_comes_back(rows: list[tuple[str, int, float, float]]) -> None:
    frame = decode(encode(frame_of(rows), TRADES), TRADES)
    found = list(
        zip(
            frame["symbol"].tolist(),
            frame["ts_ns"].tolist(),
            frame["price"].tolist(),
            frame["size"].tolist(),
            strict=True,
        )
    )
    assert found == rows
    assert (frame.source, frame.sequence) == ("test", 7)


@given(ROWS, st.data())
def test_a_frame_that_is_cut_off_is_refused_and_nothing_else_happens(
    rows: list[tuple[str, int, float, float]], data: st.DataObject
) -> None:
    whole = encode(frame_of(rows), TRADES)
    with pytest.raises(BadFrame):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))], TRADES)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        decode(data, TRADES)
    except BadFrame as error:
        assert str(error)


def message(**changes: object) -> bytes:
    good = msgpack.unpackb(encode(frame_of([("A", 1, 10.0, 5.0), ("B", 2, 11.0, 6.0)]), TRADES))
    return msgpack.packb(
        {name: value for name, value in {**good, **changes}.items() if value != "drop"}
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"v": 2}, "frame version 2; expected 1"),
        ({"n": 0}, "n: expected a number of rows from 1, found 0"),
        ({"n": True}, "found True"),
        ({"n": 3}, "i: expected 6 bytes, found 4"),
        ({"price": "drop"}, "column price is missing"),
        ({"price": b"1234567"}, "price: expected 2 x f8 (16 bytes), found 7 bytes"),
        ({"price": [1.0, 2.0]}, "found list"),
        ({"price": np.array([1.0, np.nan]).tobytes()}, "price: expected > 0.0, found nan in row 1"),
        ({"price": np.array([0.0, 1.0]).tobytes()}, "found 0.0 in row 0"),
        ({"price": np.array([np.inf, 1.0]).tobytes()}, "found inf in row 0"),
        ({"size": np.array([1.0, -1.0]).tobytes()}, "size: expected >= 0.0, found -1.0 in row 1"),
        ({"ts_ns": np.array([1, 0]).tobytes()}, "ts_ns: expected > 0.0"),
        ({"i": np.array([0, 2], "<u2").tobytes()}, "i: 2 is beyond the 2 symbols"),
        ({"sym": []}, "sym: expected a list of 1 to 65536 symbols"),
        ({"sym": ["A", 5]}, "sym: expected texts"),
        ({"sym": ["A", "B" * 65]}, "sym: expected texts of 1 to 64 letters"),
        ({"seq": "x"}, "seq: expected a whole number"),
    ],
)  # fmt: skip
def test_a_bad_frame_is_refused_with_its_reason(changes: dict[str, object], says: str) -> None:
    with pytest.raises(BadFrame) as caught:
        decode(message(**changes), TRADES)
    assert says in str(caught.value)


def test_unknown_columns_are_kept_aside() -> None:
    frame = decode(message(venue=b"xy"), TRADES)
    assert frame.extra == {"venue": b"xy"}
    assert "venue" not in frame


def test_an_oversize_message_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadFrame, match="at most"):
        decode(b"\x00" * (FRAME_BYTES_MAX + 1), TRADES)


@pytest.mark.parametrize("pack", [lambda told: json.dumps(told).encode(), msgpack.packb])
def test_a_single_trade_by_hand_is_one_row_at_the_clock(pack) -> None:  # type: ignore[no-untyped-def]
    frame = decode(pack({"price": 187.2, "size": 100}), TRADES, "AAPL", now_ns=55)
    assert (frame["symbol"].tolist(), frame["price"].tolist()) == (["AAPL"], [187.2])
    assert frame["ts_ns"].tolist() == [55]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"size": 1}, "price is missing"),
        ({"price": "187", "size": 1}, "price: expected a number, found '187'"),
        ({"price": True, "size": 1}, "found True"),
        ({"price": -1, "size": 1}, "price: expected > 0.0"),
        ({"price": 1, "size": 1, "upd": 300}, "upd: 300 does not fit u1"),
        ({"price": 1, "size": 1, "id": 1.5}, "id: expected a whole number"),
    ],
)
def test_a_bad_single_trade_is_refused(told: object, says: str) -> None:
    with pytest.raises(BadFrame) as caught:
        decode(json.dumps(told).encode(), TRADES, "AAPL", 1)
    assert says in str(caught.value)


def test_a_frame_above_the_limit_goes_out_in_parts_that_hold_all_of_it() -> None:
    record = SUBJECTS.record("control")
    frame = Frame({"version": np.arange(40), "body": texts(["x" * 50_000] * 40)})
    parts = encode_parts(frame, record)
    assert len(parts) > 1
    assert max(map(len, parts)) <= FRAME_BYTES_MAX
    assert concatenate([decode(part, record) for part in parts], record)[
        "version"
    ].tolist() == list(range(40))


def test_a_few_events_do_not_carry_the_table_of_thousands() -> None:
    whole = frame_of([(f"S{k}", 1, 1.0, 1.0) for k in range(1000)])
    assert len(encode(whole[[3, 999]], TRADES)) < 200


def test_a_mask_a_slice_and_positions_pick_events() -> None:
    frame = frame_of([("A", 1, 1.0, 1.0), ("B", 2, 2.0, 2.0), ("A", 3, 3.0, 3.0)])
    assert frame[frame["price"] > 1]["symbol"].tolist() == ["B", "A"]
    assert frame[:1]["price"].tolist() == [1.0]
    assert frame[[2, 0]]["price"].tolist() == [3.0, 1.0]


def test_every_record_has_a_frame(subjects: Subjects) -> None:
    assert {subject.record for subject in subjects.subjects.values()} <= set(subjects.records)
