"""What a trader does at the page: watches ranks, makes rules, reads alerts, is cut off, uses keys alone."""

from __future__ import annotations

import asyncio
import json
import re
import time

import httpx
import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from runtime.feed_health import Health
from tests.page.conftest import Served, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


def window(page: Page, kind: str) -> Locator:
    return page.locator(f"[data-kind={kind}]:not([hidden])").first


def row(place: Locator, number: int) -> Locator:
    """A row of a table by its place, from 1."""
    return place.locator(f'.grid-body [aria-rowindex="{number + 1}"]')


def symbol(place: Locator, number: int) -> Locator:
    return row(place, number).locator(".symbol")


async def away(page: Page) -> None:
    """The pointer where it holds nothing."""
    await page.mouse.move(700, 20)


async def test_ranks_move_and_say_how_far(page: Page, served: Served) -> None:
    ranks = window(page, "list")
    await served.toplist(["AAPL", "MSFT", "NVDA"])
    await expect(symbol(ranks, 1)).to_have_text("AAPL")
    await served.toplist(["NVDA", "AAPL", "MSFT", "TSLA"])
    await expect(symbol(ranks, 1)).to_have_text("NVDA")
    await expect(row(ranks, 1).locator(".moved-up")).to_have_text("2")
    await expect(row(ranks, 2).locator(".moved-down")).to_have_text("1")
    await expect(row(ranks, 4).locator(".is-new")).to_have_text("new")
    await expect(row(ranks, 1)).to_contain_text("250K")


async def test_a_list_stands_still_under_the_pointer_and_goes_on_after(
    page: Page, served: Served
) -> None:
    ranks = window(page, "list")
    await served.toplist(["AAPL", "MSFT", "NVDA"])
    await expect(symbol(ranks, 3)).to_have_text("NVDA")
    await row(ranks, 1).hover()
    await served.toplist(["NVDA", "AAPL", "MSFT", "AMD"])
    await expect(ranks.get_by_role("button", name="Resume +4")).to_be_visible()
    await expect(symbol(ranks, 1)).to_have_text("AAPL")
    await away(page)
    await expect(symbol(ranks, 1)).to_have_text("NVDA")
    await expect(symbol(ranks, 4)).to_have_text("AMD")
    await expect(ranks.get_by_role("button", name="Hold")).to_be_visible()


async def test_a_held_list_stays_held_until_it_is_let_go(page: Page, served: Served) -> None:
    ranks = window(page, "list")
    await served.toplist(["AAPL", "MSFT"])
    await expect(symbol(ranks, 2)).to_have_text("MSFT")
    await ranks.get_by_role("button", name="Hold").click()
    await away(page)
    await served.toplist(["MSFT", "AAPL"])
    resume = ranks.get_by_role("button", name="Resume +2")
    await expect(resume).to_be_visible()
    await expect(symbol(ranks, 1)).to_have_text("AAPL")
    await resume.click()
    await expect(symbol(ranks, 1)).to_have_text("MSFT")


async def test_a_rule_that_is_made_here_is_kept_and_its_alert_arrives(
    page: Page, served: Served
) -> None:
    await page.get_by_role("button", name="New rule").click()
    await page.get_by_label("Name").fill("Big move")
    await page.get_by_label("Condition").fill("price > 5 and change_pct_5m > 2")
    await page.get_by_role("button", name="Create rule").click()
    await expect(window(page, "rules").locator(".grid-body")).to_contain_text("Big move")
    async with httpx.AsyncClient() as http:
        rules = (await http.get(f"{served.address}/api/v1/rules")).json()["rules"]
    (made,) = [rule for rule in rules if rule["name"] == "Big move"]
    assert made["when"] == "price > 5 and change_pct_5m > 2"
    await served.alert("NVDA", made["id"], rule_name="Big move")
    newest = row(window(page, "tape"), 1)
    await expect(newest).to_contain_text("Big move")
    await expect(newest).to_contain_text("NVDA")
    await expect(newest).to_contain_text("change % 5m +1.52%, above 1")
    await expect(newest.locator(".cell").first).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))


async def test_nothing_is_lost_while_the_connection_is_cut(page: Page, served: Served) -> None:
    tape = window(page, "tape")
    await page.get_by_label("Filter by symbol or rule").fill("CUT")
    await served.alert("CUT", "before")
    await expect(tape.locator(".grid-body .row")).to_have_count(1)
    await served.wire.cut()
    await expect(page.locator("#lamp-alerts")).to_have_attribute("data-state", "bad")
    for number in range(3):
        await served.alert("CUT", f"missed-{number}")
    await expect(page.locator("#cut")).to_contain_text("Not connected")
    await served.wire.mend()
    await expect(page.locator('body[data-connection="open"]')).to_be_visible()
    await served.alert("CUT", "after")
    await expect(tape.locator(".grid-body .row")).to_have_count(5)
    told = [await row(tape, number).locator(".cell").nth(2).inner_text() for number in range(1, 6)]
    assert told == [
        "Rule after",
        "Rule missed-2",
        "Rule missed-1",
        "Rule missed-0",
        "Rule before",
    ]
    await expect(tape.locator(".row.late")).to_have_count(3)
    await expect(page.locator("#cut")).to_be_hidden()


async def test_the_chart_comes_although_its_library_could_not_be_had_at_first(
    browser: Browser, served: Served
) -> None:
    async with opened(browser, "about:blank") as page:
        refused: list[str] = []

        async def refuse(route: Route) -> None:
            refused.append(route.request.url)
            await (route.abort() if len(refused) == 1 else route.continue_())

        await page.route("**/lightweight-charts.standalone.production.mjs*", refuse)
        await page.goto(served.address)
        await page.wait_for_selector('body[data-connection="open"]')
        await served.toplist(["AAPL", "MSFT", "NVDA"])
        await symbol(window(page, "list"), 1).click()
        await expect(page.locator(".chart-canvas canvas").first).to_be_visible()
        assert len(refused) == 2


async def test_a_page_that_is_opened_later_has_what_was_said_before(
    page: Page, served: Served
) -> None:
    await served.alert("PAST", "earlier")
    await expect(window(page, "tape").locator(".grid-body")).to_contain_text("PAST")
    await page.reload()
    await expect(window(page, "tape").locator(".grid-body")).to_contain_text("PAST")


async def test_an_alert_is_explained_and_its_withdrawal_is_seen(page: Page, served: Served) -> None:
    said = await served.alert("WDRN", "taken-back")
    tape = window(page, "tape")
    mine = tape.locator(".row", has_text="WDRN")
    await mine.click()
    await page.keyboard.press("e")
    panel = page.get_by_role("complementary", name="Explanation")
    await expect(panel.get_by_role("heading", name="WDRN")).to_be_visible()
    await expect(panel.locator(".leaf")).to_contain_text("change_pct_5m > 1")
    await expect(panel.locator(".leaf")).to_contain_text("+52.0%")
    await served.alert(
        "WDRN", "taken-back", id=said["id"], kind="withdrawn", reason="trade cancelled"
    )
    await expect(mine).to_have_class(re.compile("withdrawn"))
    await expect(mine).to_contain_text("trade cancelled")
    await expect(panel).to_contain_text("withdrawn")
    await expect(mine).to_have_count(1)


async def test_the_same_alert_again_within_a_minute_is_one_row_with_a_count(
    page: Page, served: Served
) -> None:
    for _ in range(3):
        await served.alert(
            "TWICE", "again", ts_ns=1_767_640_000 * 10**9 + (served.number + 1) * 10**9
        )
    mine = window(page, "tape").locator(".row", has_text="TWICE")
    await expect(mine).to_have_count(1)
    await expect(mine).to_contain_text("×3")


async def test_a_paused_tape_counts_what_comes_and_shows_it_after(
    page: Page, served: Served
) -> None:
    tape = window(page, "tape")
    await tape.get_by_role("button", name="Pause").click()
    await served.alert("LATER", "paused")
    await tape.get_by_role("button", name="Go on +1").click()
    await expect(symbol(tape, 1)).to_have_text("LATER")


async def test_windows_of_one_colour_show_one_symbol(page: Page, served: Served) -> None:
    await served.toplist(["AAPL", "MSFT"])
    await expect(symbol(window(page, "list"), 2)).to_have_text("MSFT")
    await symbol(window(page, "list"), 2).click()
    await expect(page.get_by_role("tab", name="Chart MSFT")).to_be_visible()
    await expect(page.locator("[data-kind=quote]")).to_have_attribute("aria-label", "MSFT")


async def test_the_keyboard_is_enough(page: Page, served: Served) -> None:
    await served.toplist(["AAPL", "MSFT", "NVDA"])
    ranks, keys = window(page, "list"), page.keyboard
    await expect(symbol(ranks, 3)).to_have_text("NVDA")
    await keys.press("1")
    await expect(row(ranks, 1).locator(".cell:focus")).to_have_count(1)
    await keys.press("ArrowDown")
    await expect(row(ranks, 2).locator(".cell:focus")).to_have_count(1)
    await served.toplist(["NVDA", "AAPL", "MSFT"])
    await expect(ranks.get_by_role("button", name="Resume +3")).to_be_visible()  # focus holds
    await keys.press("Enter")
    await expect(page.get_by_role("tab", name="Chart MSFT")).to_be_visible()
    await keys.press("w")
    await expect(page.locator("[data-kind=watchlist] .grid-body")).to_contain_text("MSFT")
    await keys.press("m")
    await expect(page.get_by_role("button", name="MSFT is muted")).to_be_visible()
    await keys.press("m")
    await keys.press("h")
    await expect(symbol(ranks, 1)).to_have_text("NVDA")
    await keys.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await keys.press("Escape")
    await keys.press("Escape")
    await keys.type("tsla")  # letters outside of a table begin a symbol
    await expect(page.get_by_role("combobox", name="Find a symbol")).to_have_value("TSLA")
    await keys.press("Enter")
    await expect(page.get_by_role("tab", name="Chart TSLA")).to_be_visible()
    await keys.press("/")
    await expect(page.get_by_role("combobox", name="Find a symbol")).to_be_focused()


async def test_an_alert_is_acknowledged_by_key(page: Page, served: Served) -> None:
    await served.alert("ACK", "noted")
    tape = window(page, "tape")
    await expect(symbol(tape, 1)).to_have_text("ACK")
    await page.keyboard.press("5")
    await expect(row(tape, 1).locator(".cell:focus")).to_have_count(1)
    await page.keyboard.press("a")
    await expect(row(tape, 1)).to_have_class(re.compile(r"\bdone\b"))


async def test_a_key_acts_on_the_row_under_the_pointer_where_nothing_has_the_focus(
    page: Page, served: Served
) -> None:
    await served.toplist(["AAPL", "POINT"])
    ranks = window(page, "list")
    await expect(symbol(ranks, 2)).to_have_text("POINT")
    await symbol(ranks, 2).hover()
    await page.keyboard.press("w")
    await expect(window(page, "watchlist").locator(".grid-body")).to_contain_text("POINT")


async def test_a_screen_reader_is_told_in_one_summary(page: Page, served: Served) -> None:
    for number in range(3):
        await served.alert(f"S{number}", "spoken")
    await expect(page.locator("#live")).to_contain_text("3 new alerts: S2 Rule spoken")
    assert await page.locator("#live").get_attribute("aria-live") == "polite"


async def test_a_layout_is_kept_exported_and_given_back(page: Page, served: Served) -> None:
    await page.get_by_role("button", name="Layout").click()
    await page.get_by_role("menuitemradio", name="Research").click()
    await expect(page.get_by_role("tab", name="Backtest")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("tab", name="Backtest")).to_be_visible()
    await page.get_by_role("button", name="Layout").click()
    async with page.expect_download() as told:
        await page.get_by_role("menuitem", name="Export to a file").click()
    path = await (await told.value).path()
    exported = json.loads(path.read_text())
    kinds = [
        one["kind"]
        for column in exported["columns"]
        for pane in column["panes"]
        for one in pane["windows"]
    ]
    assert kinds == ["rules", "backtest", "replay", "chart"]
    await page.get_by_role("button", name="Layout").click()
    await page.get_by_role("menuitemradio", name="Scan").click()
    await expect(page.get_by_role("tab", name="Backtest")).to_have_count(0)
    await page.get_by_role("button", name="Layout").click()
    async with page.expect_file_chooser() as asked:
        await page.get_by_role("menuitem", name="Import from a file").click()
    await (await asked.value).set_files(path)
    await expect(page.get_by_role("tab", name="Backtest")).to_be_visible()


async def test_a_window_that_is_closed_while_it_loads_is_gone_without_a_word(
    page: Page, served: Served
) -> None:
    await served.toplist(["AAPL", "MSFT", "NVDA"])
    ranks = window(page, "list")
    await expect(symbol(ranks, 3)).to_have_text("NVDA")
    for number in (1, 2, 3):
        await symbol(ranks, number).click()
    await page.get_by_role("button", name="Layout").click()
    await page.get_by_role("menuitemradio", name="Research").click()
    await expect(page.locator("[data-kind=chart] canvas").first).to_be_visible()
    assert await page.locator("[data-kind=chart] .chart-canvas").count() == 1


async def test_a_list_is_saved_as_csv(page: Page, served: Served) -> None:
    await served.toplist(["AAPL", "MSFT"])
    await expect(symbol(window(page, "list"), 2)).to_have_text("MSFT")
    await page.get_by_role("button", name="Window menu").first.click()
    async with page.expect_download() as told:
        await page.get_by_role("menuitem", name="Save as CSV").click()
    lines = (await (await told.value).path()).read_text().splitlines()
    assert lines[0].startswith("Rank,Rank change,Symbol,change % 5m,Price,Volume")
    assert [line.split(",")[2] for line in lines[1:]] == ["AAPL", "MSFT"]


async def test_a_symbol_is_dragged_to_the_watchlist(page: Page, served: Served) -> None:
    await served.toplist(["DRAG", "MSFT"])
    await expect(symbol(window(page, "list"), 1)).to_have_text("DRAG")
    await symbol(window(page, "list"), 1).drag_to(window(page, "watchlist"))
    await expect(window(page, "watchlist").locator(".grid-body")).to_contain_text("DRAG")


async def test_a_phone_shows_one_window_at_a_time(page: Page, served: Served) -> None:
    await served.toplist(["AAPL", "MSFT"])
    await page.set_viewport_size({"width": 390, "height": 844})
    await expect(page.locator(".pane:visible")).to_have_count(1)
    await page.get_by_role("navigation", name="Windows").get_by_text("Alerts").click()
    await expect(window(page, "tape")).to_be_visible()
    await expect(page.locator(".pane:visible")).to_have_count(1)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_the_data_lamp_says_that_a_standby_sends_and_that_nobody_does(
    page: Page, served: Served
) -> None:
    lamp = page.locator("#lamp-data")

    async def told(source: str, state: str, reason: str = "") -> None:
        health = Health(source, state, time.time_ns(), reason)
        data = json.dumps({"ingest": "test", "feeds": [health.told()]}).encode()
        await served.bus.publish("runtime.feeds", data)

    async def until_shown(condition: str, text: str, *feed: str) -> None:
        async with asyncio.timeout(40):
            while await lamp.get_attribute("data-state") != condition or text not in (
                await lamp.inner_text()
            ):
                await told(*feed)
                await asyncio.sleep(0.5)

    await until_shown("slow", "standby massive", "massive", "standby", "no data from alpaca")
    await lamp.click()
    facts = page.locator("dialog[open]")
    await expect(facts).to_contain_text("no data from alpaca")
    await page.keyboard.press("Escape")
    await until_shown("bad", "massive lost", "massive", "lost", "no source has data")
    async with asyncio.timeout(40):
        while "lost" in await lamp.inner_text():  # not told any more: not known
            await asyncio.sleep(0.2)


async def test_a_function_that_is_refused_is_told_with_file_and_line(
    page: Page, served: Served
) -> None:
    faults = ["functions/fresh_high.py:17: not Python: '(' was never closed"]
    none: dict[str, object] = {"units": [], "sinks": [], "sink_versions": {}, "refused": {}}

    def told(_: object) -> bytes:
        return json.dumps({"worker": "w", "pid": 1, **none, "faults": faults}).encode()

    worker = await served.bus.respond("runtime.status", told)
    lamp = page.locator("#lamp-engine")
    await expect(lamp).to_contain_text("1 refused")
    await lamp.click()
    await expect(page.locator("dialog code")).to_have_text(faults[0])
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Add a window").first.click()
    await page.get_by_role("menuitem", name="Functions", exact=True).click()
    refused = window(page, "functions").get_by_role("alert")
    await expect(refused).to_have_text(f"Refused: {faults[0]}")
    faults.clear()
    await expect(refused).to_be_hidden()
    await expect(lamp).not_to_contain_text("refused")
    await worker.stop()
