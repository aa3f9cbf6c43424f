"""Sale conditions: what a print may update, by tape and hour (market cases 1 to 10)."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.providers.conditions import (
    ALL,
    EXTREMES,
    LAST,
    OFFICIAL_CLOSE,
    OFFICIAL_OPEN,
    VOLUME,
    flags_of,
    update_flags,
)

OPENED_NS = 1_514_903_400_000_000_000  # 2018-01-02 09:30 in New York


def regular(conditions: str, tape: str = "A") -> int:
    return update_flags(conditions, tape, is_extended=False)[0]


def test_case_1_an_odd_lot_counts_in_the_volume_only() -> None:
    assert regular("I") == VOLUME


@pytest.mark.parametrize("condition", ["B", "H", "C", "N", "V", "7"])
def test_case_2_prices_that_are_no_market_prices_count_in_the_volume_only(condition: str) -> None:
    assert regular(condition, "A") == VOLUME
    assert regular("W", "C") == VOLUME


def test_case_3_b_and_e_depend_on_the_tape() -> None:
    assert [regular("B", tape) for tape in "ABC"] == [VOLUME, VOLUME, ALL]
    assert [regular("E", tape) for tape in "ABC"] == [ALL, ALL, VOLUME]


def test_case_4_official_open_and_close_are_no_trades() -> None:
    assert regular("Q") == OFFICIAL_OPEN
    assert regular("M") == OFFICIAL_CLOSE


def test_case_5_a_corrected_close_sets_the_price_without_volume() -> None:
    assert regular("9") == LAST | EXTREMES


@pytest.mark.parametrize("condition", ["G", "L", "P", "R", "Z", "4"])
def test_case_6_out_of_sequence_prints_move_extremes_but_never_the_last(condition: str) -> None:
    assert regular(condition) == VOLUME | EXTREMES


def test_case_7_all_conditions_count() -> None:
    assert regular("FI") == VOLUME
    assert regular("Z4") == VOLUME | EXTREMES
    assert regular("FX") == ALL


def test_case_8_an_unknown_condition_leaves_the_volume_and_is_counted() -> None:
    assert update_flags("?F", "A", is_extended=False) == (VOLUME, 1)


def test_case_9_no_condition_is_regular() -> None:
    assert {regular(""), regular("@"), regular("  ")} == {ALL}


def test_case_10_form_t_sets_prices_outside_regular_hours_only() -> None:
    assert regular("T") == VOLUME
    assert update_flags("T", "A", is_extended=True)[0] == ALL
    assert update_flags("TI", "A", is_extended=True)[0] == VOLUME


def test_columns_are_mapped_by_their_hour() -> None:
    times = np.array([OPENED_NS - 1, OPENED_NS, OPENED_NS])
    flags, unknown = flags_of([" FTI", "@ T", "F,%"], ["A", "C", "C"], times)
    assert flags.tolist() == [VOLUME, VOLUME, VOLUME]
    assert unknown == 1
    assert flags_of(["@ T"], ["C"], times[:1])[0].tolist() == [ALL]
