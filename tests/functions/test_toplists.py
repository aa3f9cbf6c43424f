"""Toplists in two stages: what is ranked, who enters, moves and leaves, and what a list may ask for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from functions.bars import bars
from functions.indicators import indicators
from functions.market.listings import FAMILIES, SYSTEM, ListFault, parse_toplist, parse_toplists
from functions.market.partials import PLACES
from functions.market.toplists import KEPT, LENGTH
from functions.scanner import scanner
from functions.toplists import ENTERS, LEAVES, toplists
from runtime.testing import Harness

T0 = 1_767_623_400_000_000_000  # Monday, 09:30 in New York
SECOND_NS = 10**9
PLAIN = {"id": "mine", "name": "Mine", "metric": "price"}


def partial(
    h: Harness, second: int, best: dict[str, float], gone: tuple[str, ...] = (), **told: Any
) -> dict[str, Any]:
    """One partition's word on the list `gainers_1m`."""
    symbols = [*best, *gone]
    size = len(symbols)
    columns = {"list": "gainers_1m", "key": "k", "version": 1, "configured": 0, "is_falling": 1}
    columns |= told
    return h.send(
        "toplists.partial",
        symbol=symbols,
        ts_ns=[T0 + second * SECOND_NS] * size,
        value=[*best.values(), *[np.nan] * len(gone)],
        price=[10.0] * size,
        volume=[5.0] * size,
        rank=[*range(1, len(best) + 1), *[0] * len(gone)],
        **{name: [value] * size for name, value in columns.items()},
    )


def ranks(out: dict[str, Any]) -> dict[str, int]:
    if "toplists.updated" not in out:
        return {}
    frame = out["toplists.updated"]
    return dict(zip(frame["symbol"].tolist(), frame["rank"].tolist(), strict=True))


def moves(out: dict[str, Any]) -> list[tuple[str, int]]:
    if "toplists.changes" not in out:
        return []
    frame = out["toplists.changes"]
    return list(zip(frame["symbol"].tolist(), frame["kind"].tolist(), strict=True))


def test_a_ranking_is_of_the_best_of_all_partitions_and_ties_go_by_symbol() -> None:
    h = Harness(toplists)
    partial(h, 1, {"B": 2.0, "A": 1.0})
    out = partial(h, 1, {"D": 3.0, "C": 2.0})
    assert ranks(out) == {"D": 1, "B": 2, "C": 3, "A": 4}


def test_a_round_is_told_when_as_many_partitions_spoke_as_in_the_one_before() -> None:
    h = Harness(toplists)
    partial(h, 1, {"A": 1.0})
    partial(h, 1, {"B": 2.0})
    assert ranks(partial(h, 2, {"A": 3.0})) == {}
    assert ranks(partial(h, 2, {"B": 2.0})) == {"A": 1, "B": 2}


def test_a_round_that_not_everybody_told_is_told_with_the_next_one() -> None:
    h = Harness(toplists)
    partial(h, 1, {"A": 1.0})
    partial(h, 1, {"B": 2.0})
    assert ranks(partial(h, 2, {"A": 3.0})) == {}
    assert ranks(partial(h, 3, {"A": 3.0})) == {"A": 1, "B": 2}


def test_who_enters_and_who_leaves_is_said_once_with_the_time_of_the_ranking() -> None:
    h = Harness(toplists)
    assert moves(partial(h, 1, {"A": 1.0})) == [("A", ENTERS)]
    assert moves(partial(h, 2, {"A": 2.0})) == []
    out = partial(h, 3, {"B": 5.0}, gone=("A",))
    assert sorted(moves(out)) == [("A", LEAVES), ("B", ENTERS)]
    assert set(out["toplists.changes"]["ts_ns"].tolist()) == {T0 + 3 * SECOND_NS}
    assert ranks(out) == {"B": 1, "A": 0}


def test_at_the_edge_a_member_stays_until_it_falls_below_the_kept_ranks() -> None:
    h = Harness(toplists)
    best = {f"S{k:02}": 100.0 - k for k in range(LENGTH)}
    partial(h, 1, best)
    edge = f"S{LENGTH - 1:02}"
    out = partial(h, 2, {"N": 500.0})  # the last one is not shown any more, and still a member
    assert moves(out) == [("N", ENTERS)]
    assert ranks(out)[edge] == 0
    assert moves(partial(h, 3, {"N": -1.0})) == []  # and back: nobody entered
    above = {f"T{k:02}": 900.0 - k for k in range(KEPT - LENGTH + 1)}
    assert (edge, LEAVES) in moves(partial(h, 4, above))


def test_previous_rank_time_in_list_and_number_of_update_come_with_each_rank() -> None:
    h = Harness(toplists)
    partial(h, 1, {"A": 1.0, "B": 0.5})
    frame = partial(h, 4, {"B": 3.0})["toplists.updated"]
    place = frame["symbol"].tolist().index("B")
    told = [int(frame[name][place]) for name in ("rank", "previous", "since_ns", "number")]
    assert told == [1, 2, T0 + SECOND_NS, 2]


def test_a_list_that_means_something_else_begins_anew_and_old_words_are_ignored() -> None:
    h = Harness(toplists)
    partial(h, 1, {"A": 9.0})
    out = partial(h, 2, {"B": 1.0}, version=2, configured=3)
    assert ranks(out) == {"B": 1, "A": 0}
    assert ranks(partial(h, 3, {"C": 99.0}, version=1, configured=2)) == {}


def test_a_list_that_is_no_more_empties_and_is_forgotten() -> None:
    h = Harness(toplists)
    partial(h, 1, {"A": 9.0})
    out = partial(h, 2, {}, gone=("A",), version=0, configured=3)
    assert ranks(out) == {"A": 0}
    assert moves(out) == [("A", LEAVES)]
    assert h.state("toplists")["lists"] == "{}"


def test_the_last_update_of_a_list_has_its_key() -> None:
    h = Harness(toplists)
    partial(h, 1, {"A": 1.0}, list="mine", key="toplist:user:ann:mine", version=7, configured=3)
    last = partial(h, 2, {}, ("A",), list="mine", key="", version=0, configured=4)
    assert last["toplists.updated"]["key"].tolist() == ["toplist:user:ann:mine"]


def test_more_lists_than_there_are_places_for_wait_for_one() -> None:
    h = Harness(toplists)
    names = [f"l{k:03}" for k in range(PLACES + 1)]

    def told(second: int, lists: list[str], version: int) -> set[str]:
        size = len(lists)
        rows = {"list": lists, "symbol": ["A"] * size, "rank": [version] * size}
        rows |= {name: [1.0] * size for name in ("value", "price", "volume")}
        rows |= {"version": [version] * size, "configured": [2 - version] * size}
        rows |= {"is_falling": [1] * size, "ts_ns": [T0 + second * SECOND_NS] * size}
        out = h.send("toplists.partial", **rows)
        return set(out["toplists.updated"]["list"]) if "toplists.updated" in out else set()

    assert told(1, names, 1) == set(names[:-1])
    assert told(2, names[:1], 0) == set(names[:1])
    assert told(3, names[1:], 1) == set(names[1:])


def test_ranks_and_members_survive_a_restart() -> None:
    h = Harness(toplists)
    partial(h, 1, {"A": 1.0})
    h.crash_and_restore()
    frame = partial(h, 2, {"A": 2.0})["toplists.updated"]
    assert (frame["previous"][0], frame["number"][0]) == (1, 2)


WORDS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.dictionaries(st.sampled_from("ABCDEFGH"), st.sampled_from([1.0, 2.0, 3.0]), max_size=5),
    ),
    min_size=1,
    max_size=12,
)


@given(WORDS)
@settings(max_examples=60, deadline=None, phases=[Phase.generate])
def test_the_newest_words_of_all_partitions_make_the_ranking(words: list[Any]) -> None:
    h = Harness(toplists)
    now: dict[int, dict[str, float]] = {}
    for second, (part, best) in enumerate(words, 1):
        mine = {f"{symbol}{part}": value for symbol, value in best.items()}
        gone = tuple(sorted(set(now.get(part, {})) - set(mine)))
        if not mine and not gone:
            continue
        now[part] = mine
        out = partial(h, second, mine, gone)
        merged = {symbol: value for one in now.values() for symbol, value in one.items()}
        order = sorted(merged, key=lambda symbol: (-merged[symbol], symbol))
        wanted = {symbol: rank for rank, symbol in enumerate(order, 1)}
        assert {symbol: rank for symbol, rank in ranks(out).items() if rank} == wanted


# -- the first stage


def market(*lists: dict[str, Any]) -> Harness:
    h = Harness(bars, indicators, scanner)
    if lists:
        configure(h, 1, *lists)
    return h


def configure(h: Harness, version: int, *lists: dict[str, Any]) -> None:
    h.send("control", version=[version], body=[json.dumps({"rules": [], "toplists": lists})])


def second(h: Harness, k: int, **prices: float) -> dict[str, list[tuple[str, int]]]:
    """One print of each symbol, and the clock: list -> (symbol, rank) told."""
    size = len(prices)
    if size:
        h.send(
            "ticks.trades",
            symbol=list(prices),
            ts_ns=[T0 + k * SECOND_NS] * size,
            price=list(prices.values()),
            size=[100.0] * size,
        )
    out = h.clock(T0 + (k + 1) * SECOND_NS).get("toplists.partial")
    found: dict[str, list[tuple[str, int]]] = {}
    if out is not None:
        for name, symbol, rank in zip(out["list"], out["symbol"], out["rank"], strict=True):
            found.setdefault(str(name), []).append((str(symbol), int(rank)))
    return found


def test_a_list_of_a_user_ranks_any_metric_in_either_order() -> None:
    h = market({**PLAIN, "sort_order": "asc"})
    assert second(h, 0, A=3.0, B=1.0, C=2.0)["mine"] == [("B", 1), ("C", 2), ("A", 3)]


@pytest.mark.parametrize(
    ("filters", "symbols"),
    [
        ({"price_min": 2}, ["A", "C"]),
        ({"price_max": 2}, ["C", "B"]),
        ({"min_volume": 101}, []),
        ({"market_cap_min": 5}, ["B"]),
        ({"exchange": "XNAS"}, ["A"]),
    ],
)
def test_filters_apply_before_ranking(filters: dict[str, Any], symbols: list[str]) -> None:
    h = market({**PLAIN, "filters": filters})
    h.send(
        "ticks.reference",
        symbol=["B", "A"],
        ts_ns=[1, 1],
        name=["marketcap", "exchange.XNAS"],
        value=[7.0, 1.0],
    )
    told = second(h, 0, A=3.0, B=1.0, C=2.0).get("mine", [])
    assert [symbol for symbol, _ in told] == symbols


def test_what_leaves_the_best_is_told_once_with_rank_zero() -> None:
    h = market({**PLAIN, "filters": {"price_max": 5}})
    second(h, 0, A=3.0, B=4.0)
    assert second(h, 1, A=9.0)["mine"] == [("B", 1), ("A", 0)]
    assert second(h, 2, B=4.5)["mine"] == [("B", 1)]


def test_a_symbol_without_a_print_for_five_minutes_leaves() -> None:
    h = market(PLAIN)
    second(h, 0, A=3.0)
    second(h, 298, B=1.0)
    assert second(h, 299, B=1.0)["mine"] == [("B", 1), ("A", 0)]


def test_a_removed_list_ends() -> None:
    h = market(PLAIN)
    second(h, 0, A=3.0)
    configure(h, 2)
    assert second(h, 1, A=3.0)["mine"] == [("A", 0)]
    assert "mine" not in second(h, 2, A=3.0)


def test_a_list_that_this_version_does_not_know_stops_no_other_and_no_rule() -> None:
    h = market()
    rule = {"id": "r", "name": "R", "when": "price > 1 held for 1s", "cooldown": 0}
    lists = [{**PLAIN, "id": "newer", "metric": "a_metric_to_come"}, PLAIN]
    body = json.dumps({"rules": [rule], "toplists": lists})
    h.send("control", version=[2], body=[body])
    h.send("ticks.trades", symbol=["A"], ts_ns=[T0], price=[3.0], size=[100.0])
    first, then = h.clock(T0 + SECOND_NS), h.clock(T0 + 2 * SECOND_NS)
    assert "mine" in first["toplists.partial"]["list"].tolist()
    assert "alerts" in {**first, **then}


def test_columns_of_a_list_come_with_its_ranks() -> None:
    h = market({**PLAIN, "columns": ["volume_daily", "float"]})
    h.send("ticks.trades", symbol=["A"], ts_ns=[T0], price=[3.0], size=[100.0])
    frame = h.clock(T0 + SECOND_NS)["toplists.partial"]
    place = frame["list"].tolist().index("mine")
    assert frame["c0"][place] == 100.0
    assert np.isnan(frame["c1"][place])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "pryce"}, "metric: no metric 'pryce'; did you mean price?"),
        ({"metric": "rsi", "time_window": "1h"}, "of rsi expected one of 1m, 5m, 15m, 1d"),
        ({"time_window": "5m"}, "time_window: only change_pct, volume, rsi, relative_volume"),
        ({"metric": "change_pct"}, "time_window: expected one of 1m, 5m, 15m, 1h, 1d"),
        ({"sort_order": "up"}, "sort_order: expected asc or desc, found 'up'"),
        ({"filters": {"price_mn": 1}}, "filters: price_mn: no such field; did you mean price_min?"),
        ({"filters": {"price_min": "1"}}, "price_min: expected a number, found '1'"),
        ({"columns": ["price"] * 9}, "columns: expected a list of at most 8 metrics"),
        ({"color_scheme": {"positiv": "red"}}, "did you mean positive?"),
        ({"id": "a b"}, "id: expected 1 to 64 of letters"),
        ({"name": ""}, "name: expected 1 to 200 letters"),
        ({"nme": "x"}, "nme: no such field; did you mean name?"),
        ({"metric": ["price"]}, "metric: expected a text, found ['price']"),
        ({"metric": "volume", "time_window": ["5m"]}, "time_window: expected a text"),
        ({"filters": {"price_max": 10**400}}, "price_max: expected a number"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ListFault, match="toplist") as caught:
        parse_toplist({**PLAIN, **change})
    assert message in str(caught.value)


def test_every_family_and_window_names_a_metric() -> None:
    for family, windows in FAMILIES.items():
        for window, metric in windows.items():
            told = {**PLAIN, "metric": family, "time_window": window}
            assert parse_toplist(told).metric == metric


def test_system_lists_have_the_keys_of_outside_readers() -> None:
    keys = {one.id: one.key for one in SYSTEM}
    assert keys["gainers_1h"] == "toplist:change_pct:1h"
    assert keys["vwap_dist_low"] == "toplist:vwap_dist:5m"


def test_an_id_may_stand_once_and_is_none_of_the_system_lists() -> None:
    for body in ([PLAIN, PLAIN], [{**PLAIN, "id": "gainers_1m"}]):
        with pytest.raises(ListFault, match="stands twice"):
            parse_toplists(json.dumps({"toplists": body}))


def test_a_list_switched_off_is_not_ranked() -> None:
    body = json.dumps({"toplists": [{**PLAIN, "enabled": False}]})
    assert parse_toplists(body) == SYSTEM
