"""Symbols as one feed or another spells them, in the one spelling used here: `BRK.B`, `ABCD.WS`, `BAC.PRL`.

    what it is         spelled                                  here       kind
    share class        BRK.B  BRK/B  BRK B  BRK-B               BRK.B      class
    preferred          BAC.PRL  BAC PRL  BAC/PRL  BAC-PL BACpL  BAC.PRL    preferred
    unit               ABCD.U  ABCD/U  ABCD.UN  ABCD=           ABCD.U     unit
    warrant            ABCD.WS  ABCD/WS  ABCD-WT  ABCD.W ABCD+  ABCD.WS    warrant (ABCD.WS.A: of a series)
    right              ABCD.RT  ABCD/RT  ABCD.R  ABCD^          ABCD.RT    right
    when issued        ABCD.WI  ABCD/WI  ABCD WI  ABCD*         ABCD.WI    when issued
    Nasdaq's fifth     ABCDU  ABCDW  ABCDR  ABCDV               as it is   unit, warrant, right, when issued
    test               ZVZZT  NTEST.A  ZXYZ.A ...               as it is   test

What looks like none of these (BTC-USD, SAP.DE, BTCUSDT.SPOT) is left alone.

Sources: CTA and UTP symbology appendices (suffixes), Nasdaq integrated symbology, Nasdaq and NYSE test symbols.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SPLIT = re.compile(r"([A-Z]{1,5})[./ -]([A-Z]{1,3}(?:[./ -]?[A-Z])?)")
SIGNS = {"=": "U", "+": "WS", "^": "RT", "*": "WI"}
SUFFIXES = {
    "U": "U",
    "UN": "U",
    "WS": "WS",
    "WT": "WS",
    "W": "WS",
    "RT": "RT",
    "R": "RT",
    "WI": "WI",
}
KINDS = {"U": "unit", "WS": "warrant", "RT": "right", "WI": "when issued"}
FIFTH = {"U": "unit", "W": "warrant", "R": "right", "V": "when issued"}
PREFERRED = re.compile(r"PR?([A-Z]?)")
RAW_PREFERRED = re.compile(r"([A-Z]{1,5})p([A-Z]?)")
TESTS = re.compile(r"Z[A-Z]ZZ[TC]|ZXYZ|ZBZX|ZTEST|ZIEXT|ZEXIT|[ACMNP]TEST")


def normal(symbol: str) -> str:
    """The symbol in the spelling used here."""
    text = symbol.strip()
    if text[-1:] in SIGNS and text[:-1].isalpha():
        return f"{text[:-1]}.{SIGNS[text[-1]]}"
    raw = RAW_PREFERRED.fullmatch(text)
    if raw is not None:
        return f"{raw[1]}.PR{raw[2]}"
    found = SPLIT.fullmatch(text)
    if found is None:
        return text
    root, suffix = found[1], re.sub(r"[./ -]", ".", found[2])
    head, _, series = suffix.partition(".")
    if head in SUFFIXES:
        return ".".join(filter(None, (root, SUFFIXES[head], series)))
    preferred = PREFERRED.fullmatch(head) if len(head) > 1 and not series else None
    if preferred is not None:
        return f"{root}.PR{preferred[1]}"
    return f"{root}.{head}" if len(suffix) == 1 else text


def kind_of(symbol: str) -> str:
    """What a symbol in the spelling used here is: `common`, or one of the kinds above."""
    root, _, suffix = symbol.partition(".")
    if is_test(symbol):
        return "test"
    head = suffix.partition(".")[0]
    if head in KINDS:
        return KINDS[head]
    if len(head) > 1 and head.startswith("PR") and PREFERRED.fullmatch(head):
        return "preferred"
    if len(suffix) == 1:
        return "class"
    if not suffix and len(root) == 5 and root.isalpha():
        return FIFTH.get(root[4], "common")
    return "common"


def is_test(symbol: str) -> bool:
    """Whether an exchange trades the symbol only to test its systems."""
    return TESTS.fullmatch(symbol.partition(".")[0]) is not None


def normal_table(symbols: Iterable[str]) -> dict[str, str]:
    """The spelling used here of every distinct symbol; test symbols are left out."""
    told = {symbol: normal(symbol) for symbol in dict.fromkeys(symbols)}
    return {symbol: one for symbol, one in told.items() if not is_test(one)}
