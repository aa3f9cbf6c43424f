"""Text is read into trees, and what is wrong with it is said with its place."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.rules import tree
from functions.rules.faults import RuleFault
from functions.rules.limits import CONDITIONS_MAX, NESTED_MAX, TEXT_BYTES_MAX, VALUES_MAX
from functions.rules.spelling import spell
from functions.rules.text import parse_condition, parse_text, parse_value
from functions.rules.tree import Arithmetic, Changed, Compare, Crosses, Guard, Metric, Number
from functions.rules.wire import parse_rules
from tests.functions.rules.random_trees import conditions

PRICE, RSI = Metric("price"), Metric("rsi_14")
ABOVE = Compare(">", PRICE, Number(5.0))
BELOW = Compare("<", RSI, Number(30.0))
BUSY = Compare(">=", Metric("volume_1m"), Number(1e5))
S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("price > 5", ABOVE),
        ("PRICE > 5 # a comment\n", ABOVE),
        ("price > $5", Compare(">", PRICE, Number(5.0, "usd"))),
        ("price > -$1.5", Compare(">", PRICE, Number(-1.5, "usd"))),
        ("price > $-1.5", Compare(">", PRICE, Number(-1.5, "usd"))),
        ("volume_daily >= 1.5M shares", Compare(">=", Metric("volume_daily"), Number(1.5e6, "shares"))),
        ("volume_daily >= 2B", Compare(">=", Metric("volume_daily"), Number(2e9))),
        ("minutes_since_news < 1.5m", Compare("<", Metric("minutes_since_news"), Number(1.5, "minutes"))),
        ("minutes_since_news < 5 minutes", Compare("<", Metric("minutes_since_news"), Number(5, "minutes"))),
        ("trade_count_1m > 1e2 trades", Compare(">", Metric("trade_count_1m"), Number(100.0, "trades"))),
        ("volume_spike_2_1m >= 2x", Compare(">=", Metric("volume_spike_2_1m"), Number(2.0, "ratio"))),
        ("close > bb_20_2.0_upper", Compare(">", Metric("close"), Metric("bb_20_2.0_upper"))),
        ("rsi_14_1m < 30", BELOW),
        ("rel_volume_5m > 200%", Compare(">", Metric("relative_volume_5m"), Number(200.0, "percent"))),
        ("price > 5 volume >= 100k", Compare(">", PRICE, Number(5.0), Guard(1e5))),
        ("price > 5 during market, premarket", Compare(">", PRICE, Number(5.0), Guard(None, ("premarket", "market")))),
        ("price > 5 volume >= 0 during all", Compare(">", PRICE, Number(5.0), Guard(0.0, ()))),
        ("price > 5 during all volume >= 0", Compare(">", PRICE, Number(5.0), Guard(0.0, ()))),
        ("price crosses above vwap_live", Crosses("above", PRICE, Metric("vwap_live"))),
        ("price changed by >= 3% in 5m", Changed(PRICE, ">=", Number(3.0, "percent"), 300 * S)),
        ("price changed by <= -3% in 90 seconds", Changed(PRICE, "<=", Number(-3.0, "percent"), 90 * S)),
        ("price > 5 held for 20s", tree.Held(ABOVE, 20 * S)),
        ("3 of last 5 bars (price > 5)", tree.OfLast(ABOVE, 3, 5)),
        ("3 of last 5 5m bars price > 5", tree.OfLast(ABOVE, 3, 5, "5m")),
        ("1 of last 1 1h bar (price > 5)", tree.OfLast(ABOVE, 1, 1, "60m")),
        ("price > 5 then rsi_14 < 30 within 2m", tree.Then(ABOVE, BELOW, 120 * S)),
        ("first time today (price > 5)", tree.FirstToday(ABOVE)),
        ("price > 5 re-arms below 4", tree.Rearm(ABOVE, "below", PRICE, Number(4.0))),
        ("price > 5 rearms when rsi_14 above 70", tree.Rearm(ABOVE, "above", RSI, Number(70.0))),
        ("enters gainers_5m", tree.Enters("gainers_5m")),
        ("leaves losers_1d", tree.Leaves("losers_1d")),
        ("in rsi_high", tree.InList("rsi_high")),
        ("all(price > 5, rsi_14 < 30)", tree.All((ABOVE, BELOW))),
        ("any(price > 5 during market, rsi_14 < 30)", tree.Any((Compare(">", PRICE, Number(5.0), Guard(None, ("market",))), BELOW))),
        ("all(price > 5)", tree.All((ABOVE,))),
    ],
)  # fmt: skip
def test_a_text_is_read_as_its_tree(text: str, expected: tree.Condition) -> None:
    assert parse_condition(text) == expected


@pytest.mark.parametrize(
    ("text", "brackets"),
    [
        ("price > 5 and rsi_14 < 30 or volume_1m >= 100k", "(price > 5 and rsi_14 < 30) or volume_1m >= 100k"),
        ("price > 5 or rsi_14 < 30 and volume_1m >= 100k", "price > 5 or (rsi_14 < 30 and volume_1m >= 100k)"),
        ("not price > 5 and rsi_14 < 30", "(not (price > 5)) and rsi_14 < 30"),
        ("not price > 5 held for 20s", "not ((price > 5) held for 20s)"),
        ("price > 5 and rsi_14 < 30 held for 20s", "price > 5 and ((rsi_14 < 30) held for 20s)"),
        ("price > 5 or rsi_14 < 30 then volume_1m >= 100k within 1m", "(price > 5 or rsi_14 < 30) then volume_1m >= 100k within 1m"),
        ("price > 5 then rsi_14 < 30 within 1m then price > 6 within 2m", "(price > 5 then rsi_14 < 30 within 1m) then price > 6 within 2m"),
        ("first time today price > 5 and rsi_14 < 30", "(first time today (price > 5)) and rsi_14 < 30"),
        ("price - 1 - 2 * 3 > open / 2 / 3", "((price - 1) - (2 * 3)) > ((open / 2) / 3)"),
        ("-price + 1 < 3", "(-price) + 1 < 3"),
        ("price > 5 and rsi_14 < 30 volume >= 1k", "price > 5 and (rsi_14 < 30 volume >= 1k)"),
    ],
)  # fmt: skip
def test_what_binds_tighter_is_fixed(text: str, brackets: str) -> None:
    assert parse_condition(text) == parse_condition(brackets)


def test_brackets_are_kept_where_they_say_something() -> None:
    for text in ("(price > 5 and close > 1) and open > 1", "price - (1 - 2) > 3", "-(-1) < price"):
        assert spell(parse_condition(text)) == text


def test_clauses_of_the_rule_stand_at_its_end() -> None:
    told = parse_text(
        "price > 5 on AAPL, BRK.B, ON, BTC/USD in watchlist my-1 cooldown 90s once per 5m bar"
    )
    assert told.when == ABOVE
    assert told.symbols == ("AAPL", "BRK.B", "ON", "BTC/USD")
    assert (told.watchlist, told.cooldown_ns, told.once_per) == ("my-1", 90 * S, "5m")
    assert parse_text("price > 5 once per bar cooldown 0s").once_per == "1m"
    assert parse_text("price > 5 cooldown 7d").cooldown_ns == 7 * 86_400 * S
    assert parse_text("price > 5").cooldown_ns is None


@pytest.mark.parametrize(
    ("text", "line", "column", "expected", "found", "nearest"),
    [
        ("prise > 5", 1, 1, "a condition, a metric or a number", "'prise'", "price"),
        ("price > 5 adn rsi_14 < 3", 1, 11, "and, or, then", "'adn'", "and"),
        ("price > 5\n  and vwap_liv < 3", 2, 7, "a condition, a metric or a number", "'vwap_liv'", "vwap_live"),
        ("price > 5 and", 1, 14, "a condition, a metric or a number", "the end", ""),
        ("", 1, 1, "a condition, a metric or a number", "the end", ""),
        ("price", 1, 1, "a condition, such as price > 5", "a value: price", ""),
        ("price > 5 > 3", 1, 1, "a value, such as price or 5", "a condition: price > 5", ""),
        ("price = 5", 1, 7, "one of > < >= <= == !=", "'='", "=="),
        ("price => 5", 1, 7, "one of > < >= <= == !=", "'=>'", ">="),
        ("price > 5 @", 1, 11, "a metric, a number or one of", "'@'", ""),
        ("(price > 5", 1, 11, ")", "the end", ""),
        ("price > 5q", 1, 9, "a number, which may end with", "'5q'", ""),
        ("enters gainer_5m", 1, 8, "a toplist", "'gainer_5m'", "gainers_5m"),
        ("in watchlist mine", 1, 4, "a toplist (a watchlist stands at the end", "'watchlist'", ""),
        ("price crosses over 5", 1, 15, "above or below", "'over'", "above"),
        ("price changed by 3% in 5m", 1, 18, "> or < or >= or <=", "'3%'", ""),
        ("price changed by >= open in 5m", 1, 21, "a number such as 3%", "a value: open", ""),
        ("price > 5 held for 2d", 1, 20, "a duration from 1s to 1d", "172800s", ""),
        ("price > 5 held for 5", 1, 20, "a duration such as", "'5'", ""),
        ("price > 5 then close > 1", 1, 25, "within", "the end", ""),
        ("9 of last 5 bars (price > 5)", 1, 1, "1 to 5 of the last 5 bars", "9", ""),
        ("3 of last 65 bars (price > 5)", 1, 1, "1 to 64 bars", "65", ""),
        ("3 of last 5 7m bars (price > 5)", 1, 13, "a timeframe: 1m 2m", "'7m'", ""),
        ("first day today (price > 5)", 1, 7, "time", "'day'", ""),
        ("price > 5 volume > 100k", 1, 18, ">=", "'>'", ">="),
        ("price > 5 volume >= 5%", 1, 21, "a number of shares", "a value: 5%", ""),
        ("price > 5 volume >= 1 volume >= 2", 1, 23, "one volume threshold", "'volume'", ""),
        ("(price > 5 and open > 1) during market", 1, 26, "a comparison before during", "'during'", ""),
        ("price > 5 during marked", 1, 18, "premarket or market or postmarket or all", "'marked'", "market"),
        ("price > 5 cooldown 8d", 1, 20, "a duration up to 7d", "'8d'", ""),
        ("price > 5 cooldown 1m cooldown 2m", 1, 23, "cooldown once", "'cooldown'", ""),
        ("price > 5 on", 1, 13, "a symbol", "the end", ""),
        ("price > 5 on A and open < 6", 1, 16, "on, in watchlist, cooldown, once", "'and'", ""),
        ("price > 5 or in losers_5m re-arms below 3", 1, 35, "when, a value, then above or below", "'below'", ""),
        ("1 > 2", 1, 5, "a metric on one side at least", "numbers only", ""),
        ("abs(price, open) > 3", 1, 12, "1 values for abs", "2", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    text: str, line: int, column: int, expected: str, found: str, nearest: str
) -> None:
    with pytest.raises(RuleFault) as caught:
        parse_text(text)
    fault = caught.value
    assert (fault.line, fault.column) == (line, column), str(fault)
    assert fault.expected.startswith(expected), str(fault)
    assert (fault.found, fault.nearest) == (found, nearest), str(fault)


def test_a_fault_shows_the_line_and_carets_under_what_is_wrong() -> None:
    with pytest.raises(RuleFault) as caught:
        parse_condition("price > 5\n\tand prise < 3")
    assert str(caught.value) == (
        "line 2, column 6: expected a condition, a metric or a number, found 'prise'; did you mean price?"
        "\n    \tand prise < 3\n    \t    ^^^^^"
    )


def test_other_texts_have_no_clauses_and_values_no_comparison() -> None:
    for parse, text in ((parse_condition, "price > 5 cooldown 3m"), (parse_value, "price > 5")):
        with pytest.raises(RuleFault):
            parse(text)
    product = Arithmetic("*", (Metric("vwap_live"), Number(1.02)))
    assert parse_value("vwap_live * 1.02") == product


# -- limits


def test_a_text_is_at_most_4_kb_long() -> None:
    assert parse_condition("price > 5" + " " * (TEXT_BYTES_MAX - 9)) == ABOVE
    with pytest.raises(RuleFault, match="expected at most 4096 bytes of text, found 4097"):
        parse_condition("price > 5" + " " * (TEXT_BYTES_MAX - 8))


def test_a_rule_is_at_most_16_levels_deep() -> None:
    deep = "not " * 14 + "price > 5"
    assert parse_condition(spell(parse_condition(deep))) == parse_condition(deep)
    with pytest.raises(RuleFault, match="at most 16 levels"):
        parse_condition("not " + deep)
    with pytest.raises(RuleFault, match="at most 16 levels") as caught:
        parse_condition("price" + " + 1" * 16 + " > 5")
    assert caught.value.text[: caught.value.start].count("+") == 16  # type: ignore[index]


def test_brackets_have_a_limit_that_no_rule_needs() -> None:
    within = NESTED_MAX - 2
    assert parse_condition("(" * within + "price > 5" + ")" * within) == ABOVE
    with pytest.raises(RuleFault, match="levels of brackets"):
        parse_condition("(" * NESTED_MAX + "price > 5" + ")" * NESTED_MAX)


def test_a_rule_has_at_most_64_conditions_and_256_values() -> None:
    most = " or ".join(["price > 5"] * (CONDITIONS_MAX - 1))
    assert len(parse_condition(most).parts) == CONDITIONS_MAX - 1  # type: ignore[union-attr]
    with pytest.raises(RuleFault, match="at most 64 conditions in a rule, found 65"):
        parse_condition(most + " or price > 5")
    values = ", ".join(["price"] * (VALUES_MAX - 2))
    parse_condition(f"max({values}) > 5")
    with pytest.raises(RuleFault, match="at most 256 numbers, metrics and operations"):
        parse_condition(f"max({values}, price) > 5")


@pytest.mark.parametrize("number", ["1e16", "1e999", "9e999999999", "2000000B"])
def test_numbers_end_where_they_are_no_longer_exact(number: str) -> None:
    with pytest.raises(RuleFault, match="expected a number up to 1e"):
        parse_condition(f"price > {number}")


# -- anything at all

PIECES = "price rsi_14 vwap_live volume 5 100k 3% $2 5m 20s > < >= == + - * / ( ) , and or not all any abs max min crosses above below changed by in held for of last bars then within first time today re-arms when enters leaves gainers_5m during market volume >= on AAPL watchlist cooldown once per bar # @ \n".split(" ")  # fmt: skip
fuzz = settings(max_examples=300, deadline=None)


def faults_only(text: str) -> None:
    """Read a text: it is a rule, which is given back by its own text, or a fault."""
    begun = time.process_time()
    try:
        when = parse_text(text).when
        assert parse_condition(spell(when)) == when
    except RuleFault as fault:
        assert str(fault)
        json.dumps(fault.as_dict())
    assert time.process_time() - begun < 2


@given(st.text(max_size=200))
@fuzz
def test_any_text_is_a_rule_or_a_fault(text: str) -> None:
    faults_only(text)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join))
@fuzz
def test_any_words_are_a_rule_or_a_fault(text: str) -> None:
    faults_only(text)


@given(conditions().map(spell), st.data())
@settings(max_examples=100, deadline=None)
def test_a_rule_with_a_piece_changed_is_a_rule_or_a_fault(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    piece = data.draw(st.sampled_from(PIECES) | st.text(max_size=5))
    faults_only(text[:start] + piece + text[end:])


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4_096,
        "not " * 1_000,
        "-" * 4_096,
        "price" + "+1" * 2_000 + " > 5",
        "price > 5" + " held for 1s" * 300,
        "price > 5" + " then price > 5 within 1s" * 150,
        "1" * 4_096,
        "price > 1e" + "9" * 4_000,
        "x" * 4_096,
        " or ".join(["price>5"] * 350),
        "price > 5 on " + ",".join(["A"] * 2_000),
        "max(" + "price," * 600 + "1) > 2",
    ],
    ids=lambda text: text[:12],
)
def test_the_worst_of_4_kb_is_refused_or_read_soon(text: str) -> None:
    faults_only(text)


def test_a_body_of_rules_that_are_wrong_in_every_way_gives_only_faults() -> None:
    body = json.dumps({"rules": [{"id": f"r{k}", "name": "x", "when": "(" * k} for k in range(50)]})
    rules, faults = parse_rules(body)
    assert (len(rules), len(faults)) == (0, 50)
