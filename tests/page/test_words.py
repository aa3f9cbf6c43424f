"""Numbers, times and reasons as the page writes them, computed in the browser that shows them; and its keys."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page

from runtime.gateway import static
from tests.conftest import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def told(page: Page, module: str, expression: str) -> Any:
    """What an expression of a module of the page is."""
    return await page.evaluate(f"import('/page/{module}').then((m) => {expression})")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("m.compact(0)", "0"),
        ("m.compact(999)", "999"),
        ("m.compact(999.6)", "1.00K"),
        ("m.compact(1234)", "1.23K"),
        ("m.compact(99960)", "100K"),
        ("m.compact(5.6e6)", "5.60M"),
        ("m.compact(1.2345e10)", "12.3B"),
        ("m.compact(-1234)", "−1.23K"),
        ("m.compact(NaN)", "–"),
        ("m.price(12.3)", "12.30"),
        ("m.price(0.81234)", "0.8123"),
        ("m.percent(1.5)", "+1.50%"),
        ("m.percent(-0.25)", "−0.25%"),
        ("m.percent(0.001)", "0.00%"),
        ("m.valueOf('change_pct_5m', 1)", "+1.00%"),
        ("m.valueOf('volume_daily', 250000)", "250K"),
        ("m.valueOf('rsi_14', 71.23)", "71.2"),
        ("m.valueOf('dollar_volume_daily', 1e6)", "$1.00M"),
        ("m.valueOf('price', undefined)", "–"),
        ("m.wordsOf('change_from_close_pct')", "change from close %"),
        ("m.timeMsOf(Date.parse('2026-01-05T14:30:07.120Z'))", "09:30:07.120"),
        ("m.zoneOf(Date.parse('2026-01-05T14:30:00Z'))", "EST"),
        ("m.zoneOf(Date.parse('2026-07-06T14:30:00Z'))", "EDT"),
        ("m.countdown(75000)", "1:15"),
        ("m.countdown(11520000)", "3:12:00"),
        ("m.lasting(0.5)", "0.50 ms"),
        ("m.lasting(61000)", "1 min"),
        ("m.msOf('2026-01-05T14:31:07.120999999Z')", 1767623467120),
        ("m.momentOf('2026-01-05', '09:30')", 1767623400000),
        ("m.momentOf('2026-07-06', '09:30')", 1783344600000),
        (
            "m.leafInWords({text: 'price crosses above vwap_live', value: 12.5, truth: true})",
            "price crosses above vwap live at 12.50",
        ),
        (
            "m.leafInWords({text: 'rsi_14 < 30 volume >= 100000', value: 25.2, truth: true})",
            "rsi 14 25.2, below 30",
        ),
        (
            "m.reasonOf({kind: 'withdrawn', reason: 'trade cancelled', metadata: {}})",
            "trade cancelled",
        ),
    ],
)
async def test_a_value_is_written_as_traders_read_it(
    page: Page, expression: str, text: str | int
) -> None:
    assert await told(page, "format.js", expression) == text


@pytest.mark.parametrize(
    ("moment", "name", "left_s"),
    [
        ("2026-01-05T08:59:59Z", "closed", 1),
        ("2026-01-05T09:00:00Z", "premarket", 19_800),
        ("2026-01-05T14:30:00Z", "market", 23_400),
        ("2026-01-05T21:00:00Z", "postmarket", 14_400),
        ("2026-01-06T01:00:00Z", "closed", 28_800),
        ("2026-07-06T13:30:00Z", "market", 23_400),
    ],
)
async def test_the_session_and_what_is_left_of_it(
    page: Page, moment: str, name: str, left_s: int
) -> None:
    found = await told(page, "clock.js", f"m.sessionAt(Date.parse('{moment}'))")
    assert found == {"name": name, "leftMs": left_s * 1000}


async def test_quiet_hours_go_over_midnight(page: Page) -> None:
    quiet = "{from: '22:00', to: '07:00'}"
    for moment, expected in (("T03:30:00Z", True), ("T11:59:00Z", True), ("T12:00:00Z", False)):
        asked = f"m.isQuiet({quiet}, Date.parse('2026-01-06{moment}'))"
        assert await told(page, "sounds.js", asked) is expected
    assert await told(page, "sounds.js", "m.isQuiet(null, 0)") is False


async def test_csv_is_quoted_and_no_text_becomes_a_formula(page: Page) -> None:
    rows = """m.csvOf([["a,b", 'say "x"', "=1+1", -2, "-1.50%", null]])"""
    assert await told(page, "dom.js", rows) == '"a,b","say ""x""",\'=1+1,-2,-1.50%,\r\n'


async def test_a_layout_that_is_none_is_refused(page: Page) -> None:
    for text in ("no", "{}", '{"jetscan_layout": 1, "columns": []}', '{"jetscan_layout": 2}'):
        asked = f"(() => {{ try {{ m.imported({text!r}); }} catch (error) {{ return error.message; }} }})()"
        assert "expected a layout" in await told(page, "layout.js", asked)


async def test_the_words_of_a_rule_are_told_apart(page: Page) -> None:
    found = await told(
        page,
        "language.js",
        "m.pieces('price > $5 and rsi_14 < 30 # why').filter((one) => one[0]).map((one) => one.slice(0, 2))",
    )
    assert found == [
        ["metric", "price"],
        ["number", "$5"],
        ["word", "and"],
        ["metric", "rsi_14"],
        ["number", "30"],
        ["comment", "# why"],
    ]


async def test_the_documented_keys_are_those_of_the_page() -> None:
    source = (static.FOLDER / "keys.js").read_text(encoding="utf-8")
    known = re.findall(r'^  \["([^"]+)", "([^"]+)", "\w*"\],$', source, re.MULTILINE)
    guide = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", guide, re.MULTILINE)
    assert known
    assert documented == known
