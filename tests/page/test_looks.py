"""The page for everybody: no fault that axe calls serious, in every theme and on a phone; nothing moves that must not."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.page.conftest import Served, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHONE = {"width": 390, "height": 844}
FLASH_EVERY_MS = 500  # table.js


async def faults(page: Page) -> list[str]:
    """What axe finds serious or critical, with the first place of each."""
    told = (await Axe().run(page)).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0].get('failureSummary', '')}"
        for one in told
        if one["impact"] in ("serious", "critical")
    ]


async def fill(page: Page, served: Served) -> None:
    await page.wait_for_selector("body[data-ready]")
    await page.wait_for_selector('body[data-connection="open"]')
    await served.toplist(["AAPL", "MSFT", "NVDA"])
    await served.toplist(["NVDA", "AAPL", "AMD"])
    said = await served.alert("AAPL", "one")
    await served.alert("AAPL", "one", id=said["id"], kind="withdrawn", reason="trade cancelled")
    await served.alert("MSFT", "two")
    await expect(
        page.locator("[data-kind=tape] .row:visible, .pane.on-phone .row").first
    ).to_be_visible()


@pytest.mark.parametrize(
    ("theme", "options"),
    [
        ("dark", {"color_scheme": "dark"}),
        ("light", {"color_scheme": "light"}),
        ("contrast", {"color_scheme": "dark", "contrast": "more"}),
        ("dark", {"color_scheme": "dark", "viewport": PHONE}),
    ],
    ids=["dark", "light", "contrast", "phone"],
)
async def test_axe_finds_no_serious_fault(
    browser: Browser, served: Served, theme: str, options: dict[str, Any]
) -> None:
    async with opened(browser, served.address, reduced_motion="reduce", **options) as page:
        await fill(page, served)
        assert await page.locator("html").get_attribute("data-theme") == theme
        assert await faults(page) == []


async def test_axe_finds_no_serious_fault_in_what_opens(browser: Browser, served: Served) -> None:
    async with opened(browser, served.address, reduced_motion="reduce") as page:
        await fill(page, served)
        await page.locator("[data-kind=tape] .row", has_text="MSFT").first.click()
        await page.keyboard.press("e")
        assert await faults(page) == []
        await page.get_by_role("button", name="Layout").click()
        assert await faults(page) == []
        await page.get_by_role("menuitemradio", name="Research").click()
        await page.get_by_role("button", name="New rule").click()
        await page.get_by_label("Condition").fill("price > 5")
        assert await faults(page) == []


async def test_a_flash_comes_only_where_motion_is_welcome(browser: Browser, served: Served) -> None:
    for motion, expected in (("no-preference", True), ("reduce", False)):
        async with opened(browser, served.address, reduced_motion=motion) as page:
            await fill(page, served)
            await page.mouse.move(700, 20)
            price = page.locator("[data-kind=list] .grid-body [aria-rowindex='2'] .cell").nth(4)
            for _ in range(2):  # a cell that is new does not flash, nor one that just did
                await served.toplist(["NVDA", "AAPL", "AMD"])
                await expect(price).to_have_text(f"{1 + served.update / 100:.2f}")
            await page.wait_for_timeout(FLASH_EVERY_MS)
            await page.evaluate(
                """() => {
                  const cell = document.querySelector("[data-kind=list] .grid-body [aria-rowindex='2']").children[4];
                  window.flashed = new Promise((resolve) => {
                    const observer = new MutationObserver(() => setTimeout(() => resolve(cell.getAnimations().length > 0)));
                    observer.observe(cell, {childList: true, characterData: true, subtree: true});
                  });
                }"""
            )
            await served.toplist(["NVDA", "AAPL", "AMD"])
            assert await page.evaluate("() => window.flashed") is expected


async def test_colours_for_the_colour_blind_are_a_choice_that_is_kept(
    browser: Browser, served: Served
) -> None:
    async with opened(browser, served.address) as page:
        await fill(page, served)
        await page.locator("#user-button").click()
        await page.get_by_role("menuitem", name="Preferences").click()
        await page.get_by_label("Rising and falling").select_option("safe")
        assert await page.locator("html").get_attribute("data-colors") == "safe"
        await page.reload()
        await page.wait_for_selector("body[data-ready]")
        assert await page.locator("html").get_attribute("data-colors") == "safe"
