"""The first eligible last of a day against the obvious loop, on any cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from functions.market.firsts import LAST, LAST_IF_FIRST, NO_DAY, settled, trading_days
from functions.market.sessions import CRYPTO, US

PRINTS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from([NO_DAY, 4, 5, 6]), st.sampled_from([1, 5, 7, 37])
    ),
    max_size=40,
)


def slow_settled(prints: list[tuple[int, int, int]]) -> list[int]:
    last_day: dict[int, int] = {}
    settled_to = []
    for row, day, upd in prints:
        is_first = upd & LAST_IF_FIRST and day > last_day.get(row, NO_DAY)
        settled_to.append(upd | LAST if is_first else upd)
        if settled_to[-1] & LAST:
            last_day[row] = max(day, last_day.get(row, NO_DAY))
    return settled_to


@given(PRINTS, st.integers(1, 40))
def test_firsts_are_those_of_the_obvious_loop_on_any_cut(
    prints: list[tuple[int, int, int]], width: int
) -> None:
    last_day, found = np.full(4, NO_DAY), []
    for start in range(0, len(prints), width):
        row, day, upd = (np.array(one) for one in zip(*prints[start : start + width], strict=True))
        after = settled(upd.astype(np.uint8), row, day, last_day[row])
        found += after.tolist()
        may = (after & LAST) != 0
        np.maximum.at(last_day, row[may], day[may])
    assert found == slow_settled(prints)


def test_what_is_printed_in_the_evening_belongs_to_the_next_trading_day() -> None:
    friday_ns = 1_767_992_400_000_000_000  # 2026-01-09 16:00 in New York
    evening_ns = friday_ns + 5 * 3600 * 10**9  # 2026-01-10 02:00 UTC
    times = np.array([0, friday_ns, evening_ns, friday_ns, evening_ns])
    days = trading_days(times, np.array([US, US, US, CRYPTO, CRYPTO]))
    assert days.tolist() == [NO_DAY, 20_462, 20_465, 20_462, 20_463]
