"""What a vendor is asked to follow, and what its answers make of the wish."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from runtime.providers.asking import ANSWER_S, Asking, in_every
from runtime.providers.messages import Control
from runtime.providers.universe import SHARES, Universe

NAMES = [f"{a}{b}{c}" for a in "ABCDEFGHIJ" for b in "ABCDEFGHIJ" for c in "ABCDEFGHIJ"]


class Vendor:
    """Alpaca, as far as it subscribes: a request beyond the limit, or of a wrong symbol, changes nothing."""

    name = "alpaca"
    symbols_a_request, spacing_s, answers = 1000, 0.0, True

    def __init__(self, limit: int = 10_000, wrong: Iterable[str] = ()) -> None:
        self.limit, self.wrong = limit, set(wrong)
        self.has: list[str] = []
        self.requests = 0

    def request(self, is_adding: bool, spelled: list[str]) -> str:
        return json.dumps([is_adding, spelled])

    def acknowledged(self, control: Control) -> list[str]:
        return control.channels["trades"]

    def serve(self, message: bytes | str) -> Control:
        self.requests += 1
        is_adding, symbols = json.loads(message)
        if not is_adding:
            self.has = [one for one in self.has if one not in symbols]
        elif self.wrong & set(symbols):
            return Control("error", "400", "invalid syntax")
        elif len({*self.has, *symbols}) > self.limit:
            return Control("error", "405", "symbol limit exceeded")
        else:
            self.has += [one for one in symbols if one not in self.has]
        return Control("subscribed", channels={"trades": list(self.has)})


def talked(asking: Asking, vendor: Vendor, now_s: float = 0.0) -> int:
    """Requests until there are no more."""
    before = vendor.requests
    while (message := asking.next(now_s)) is not None:
        assert asking.hear(vendor.serve(message))
    return vendor.requests - before


def universe(*symbols: str) -> Universe:
    return Universe("alpaca://test", symbols, SHARES)


def refused(one: Universe) -> dict[str, list[str]]:
    return {told["reason"]: told["symbols"] for told in one.told()["refused"]}


def test_what_is_wanted_is_asked_for_and_a_change_asks_for_the_difference() -> None:
    vendor, wish = Vendor(), universe("A", "B")
    asking = Asking(vendor, wish, 0.0)
    assert talked(asking, vendor) == 1
    wish.ask(["C"], ["A"])
    assert talked(asking, vendor) == 2
    assert vendor.has == ["B", "C"]
    assert wish.told()["acknowledged"] == ["B", "C"]
    assert talked(asking, vendor) == 0


def test_a_wish_beyond_the_limit_fills_it_and_names_what_is_missing() -> None:
    vendor, wish = Vendor(limit=30), universe(*NAMES)
    requests = talked(Asking(vendor, wish, 0.0), vendor)
    assert vendor.has == NAMES[:30]
    assert requests <= 2 * 10 + 1  # two for every halving of a thousand
    assert refused(wish) == {"symbol limit exceeded (405)": NAMES[30:]}


def test_a_known_limit_is_not_tried_again_by_a_new_connection_or_a_new_wish() -> None:
    vendor, wish = Vendor(limit=3), universe("A", "B", "C", "D")
    talked(Asking(vendor, wish, 0.0), vendor)
    vendor.has = []
    asking = Asking(vendor, wish, 0.0)
    assert talked(asking, vendor) == 1
    assert vendor.has == ["A", "B", "C"]
    wish.ask(["E"], [])
    assert talked(asking, vendor) == 0
    assert refused(wish) == {"symbol limit exceeded (405)": ["D", "E"]}


def test_room_that_is_made_is_taken_by_the_next() -> None:
    vendor, wish = Vendor(limit=3), universe("A", "B", "C", "D", "E")
    asking = Asking(vendor, wish, 0.0)
    talked(asking, vendor)
    wish.ask([], ["B"])
    assert talked(asking, vendor) == 2
    assert vendor.has == ["A", "C", "D"]
    assert refused(wish) == {"symbol limit exceeded (405)": ["E"]}


def test_a_limit_that_leaves_nothing_is_not_learnt() -> None:
    vendor, wish = Vendor(limit=0), universe("A", "B")
    asking = Asking(vendor, wish, 0.0)
    talked(asking, vendor)
    assert wish.is_expecting is False
    vendor.limit = 5
    wish.ask(["C"], [])
    talked(asking, vendor)
    assert vendor.has == ["C"]


@pytest.mark.parametrize("wrong", [["C"], ["A", "H"], ["A", "B", "C", "D", "E", "F", "G", "H"]])
def test_a_wrong_symbol_costs_itself(wrong: list[str]) -> None:
    vendor, wish = Vendor(wrong=wrong), universe(*"ABCDEFGH")
    asking = Asking(vendor, wish, 0.0)
    talked(asking, vendor)
    assert vendor.has == [one for one in "ABCDEFGH" if one not in wrong]
    assert refused(wish) == {"invalid syntax (400)": wrong}
    wish.ask(["I"], [])
    assert talked(asking, vendor) == 1  # who was wrong is not asked for again
    wish.ask(["I"], [wrong[0]])
    vendor.wrong = set()
    wish.ask(["I"], [])
    talked(asking, vendor)
    assert wrong[0] in vendor.has


def test_a_change_between_two_parts_is_not_lost() -> None:
    vendor, wish = Vendor(limit=8), universe(*"ABCDEFGH")
    vendor.symbols_a_request = 3
    asking = Asking(vendor, wish, 0.0)
    message = asking.next(0.0)
    assert message is not None
    wish.ask(["I"], ["B", "E"])
    assert asking.next(0.0) is None  # one at a time
    asking.hear(vendor.serve(message))
    talked(asking, vendor)
    assert sorted(vendor.has) == list("ACDFGHI")


def test_what_is_not_answered_is_asked_for_once_and_told() -> None:
    vendor, wish = Vendor(), universe("A")
    asking = Asking(vendor, wish, 0.0)
    assert asking.next(0.0) is not None
    assert asking.next(ANSWER_S - 0.1) is None
    assert wish.told()["unanswered"] == ["A"]
    wish.ask(["B"], [])
    late = asking.next(ANSWER_S + 0.1)
    assert late is not None
    assert json.loads(late) == [True, ["B"]]
    assert asking.next(3 * ANSWER_S) is None
    asking.hear(Control("subscribed", channels={"trades": ["A", "B"]}))
    assert wish.told()["unanswered"] == []


def test_requests_keep_their_distance() -> None:
    vendor, wish = Vendor(), universe("A", "B")
    vendor.symbols_a_request, vendor.spacing_s = 1, 0.25
    asking = Asking(vendor, wish, 0.0)
    first = asking.next(0.0)
    assert first is not None
    asking.hear(vendor.serve(first))
    assert asking.next(0.2) is None
    assert asking.next(0.25) is not None


def test_an_error_of_the_connection_and_one_that_nobody_asked_for_are_not_answers() -> None:
    vendor, wish = Vendor(), universe("A")
    asking = Asking(vendor, wish, 0.0)
    assert not asking.hear(Control("error", "405", "symbol limit exceeded"))
    assert asking.next(0.0) is not None
    assert not asking.hear(Control("error", "406", "connection limit exceeded"))


def test_everything_takes_the_place_of_names_before_they_are_given_up() -> None:
    vendor, wish = Vendor(), Universe("alpaca://test", ["A"], rf"\*|{SHARES}")
    asking = Asking(vendor, wish, 0.0)
    talked(asking, vendor)
    wish.ask(["*"], [])
    first = asking.next(0.0)
    assert first is not None
    assert json.loads(first) == [True, ["*"]]
    asking.hear(vendor.serve(first))
    talked(asking, vendor)
    assert vendor.has == ["*"]
    assert wish.told()["acknowledged"] == ["*"]


def test_spellings_of_the_url_go_to_the_vendor_and_ours_to_everybody_else() -> None:
    vendor, wish = Vendor(), universe("BRK/B", "BAC-PL")
    asking = Asking(vendor, wish, 0.0)
    talked(asking, vendor)
    assert vendor.has == ["BRK/B", "BAC-PL"]
    assert wish.told()["acknowledged"] == ["BRK.B", "BAC.PRL"]


def test_a_channel_that_a_plan_lacks_holds_up_no_symbol_and_one_that_lacks_a_symbol_does() -> None:
    assert in_every([{"A", "B"}, set(), {"B"}]) == {"B"}
    assert in_every([[], []]) == set()
