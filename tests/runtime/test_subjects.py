"""subjects.yaml: what is wrong is said with file, line and key; the hash is the server's."""

from __future__ import annotations

import pytest

from runtime.subjects import Subjects, SubjectsError, fnv1a32, matches, parse_subjects
from tests.conftest import ROOT

TEXT = (ROOT / "subjects.yaml").read_text(encoding="utf-8")


def test_the_hash_is_fnv1a_of_32_bits() -> None:
    assert [fnv1a32(text) for text in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


@pytest.mark.parametrize(
    ("before", "after", "key", "says"),
    [
        ("discard: old", "discard: odd", "streams.MARKET.discard", "'old' or 'new'"),
        ("record: trades", "record: tradez", "subjects.ticks.trades.record", "found 'tradez'"),
        ("max_age: 24h", "max_age: 24", "streams.MARKET.max_age", "expected a time such as"),
        ("max_bytes: 4GiB", "max_bytes: much", "streams.MARKET.max_bytes", "expected a size such as"),
        ("partitions: 8", "partitions: 0", "partitions", "greater than or equal to 1"),
        ("bucket: toplists", "bukket: toplists", "subjects.toplists.updated.bukket", "unknown key"),
        ("input: ALERTS", "input: NONE", "chains.alerts.input", "found 'NONE'"),
        ("ticks.quotes.*, ", "", "subjects.ticks.quotes", "does not capture ticks.quotes.0"),
        ("{type: i8, unit: \"\", meaning: newest version wins}", "{type: i8}", "records.control.version", "Field required"),
        ("    rank: {type", "    row: {type", "records.partials.row", "the frame itself uses this name"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line_and_key(before: str, after: str, key: str, says: str) -> None:
    assert before in TEXT
    with pytest.raises(SubjectsError) as caught:
        parse_subjects(TEXT.replace(before, after, 1), "wire.yaml")
    message = str(caught.value)
    assert key in message
    assert says in message
    line = int(message.split(":")[1])
    changed = TEXT.replace(before, after, 1).splitlines()[line - 1]
    assert any(part in changed for part in key.split(".")[1:] or [key])


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(SubjectsError, match=r"wire.yaml:\d+: MARKET: the key stands twice"):
        parse_subjects(TEXT.replace("  BARS:", "  MARKET:", 1), "wire.yaml")


def test_what_is_not_yaml_names_its_line() -> None:
    with pytest.raises(SubjectsError, match=r"wire.yaml:2: not YAML"):
        parse_subjects("version: 1\nstreams: }", "wire.yaml")


def test_a_subject_on_the_wire_is_understood(subjects: Subjects) -> None:
    assert subjects.base_of("ticks.trades.3") == ("ticks.trades", 3, None)
    assert subjects.base_of("ticks.raw.AAPL.11") == ("ticks.trades", 11, "AAPL")
    assert subjects.base_of("alerts.filtered") == ("alerts.filtered", None, None)
    with pytest.raises(KeyError):
        subjects.base_of("ticks.nothing.3")


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
    ],
)
def test_patterns_match_as_the_server_matches(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected
