"""Signing in where everybody must: the first admin, a wrong password, coming back, leaving."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from runtime.migrate import load_migrations, migrate
from runtime.store import Store
from runtime.subjects import Subjects
from tests.conftest import ROOT, database_in
from tests.page.conftest import Served, opened, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "a long enough password of no dictionary 7"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, subjects: Subjects, postgres: str
) -> AsyncIterator[Served]:
    """A gateway in production mode, with a database and nobody in it."""
    url = await database_in(postgres)
    store = Store(url)
    await migrate(store, load_migrations(ROOT / "migrations"))
    await store.close()
    environment = {
        "JETSCAN_MODE": "production",
        "JETSCAN_JWT_SECRET": "k" * 48,
        "JETSCAN_DATABASE_URL": url,
    }
    folder = tmp_path_factory.mktemp("guarded")
    async with serving(folder, subjects, environment) as found:
        yield found


async def sign_in(page: Page, user: str, password: str) -> None:
    await page.get_by_label("User").fill(user)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def test_the_first_admin_is_made_with_the_code_and_is_in(
    browser: Browser, guarded: Served
) -> None:
    async with opened(browser, guarded.address) as page:
        await expect(page.get_by_role("heading", name="Set up Jetscan")).to_be_visible()
        await page.get_by_label("One-time code").fill("wrong")
        await page.get_by_label("User").fill("ann")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Set up").click()
        await expect(page.get_by_role("alert").first).to_contain_text("code")
        code = (guarded.log.parent / "data" / "setup.code").read_text().strip()
        await page.get_by_label("One-time code").fill(code)
        await page.get_by_role("button", name="Set up").click()
        await expect(page.locator("#sign-in")).to_be_hidden()
        await expect(page.locator('body[data-connection="open"]')).to_be_visible()


async def test_a_wrong_password_is_told_and_the_right_one_opens(
    browser: Browser, guarded: Served
) -> None:
    async with opened(browser, guarded.address) as page:
        await sign_in(page, "ann", "not the password at all")
        await expect(page.get_by_role("alert").first).to_contain_text("wrong")
        await sign_in(page, "ann", PASSWORD)
        await expect(page.locator("#user-button")).to_contain_text("ann")
        await expect(page.locator('body[data-connection="open"]')).to_be_visible()
        await guarded.alert("AAPL", "secret")
        await expect(page.locator("[data-kind=tape] .grid-body")).to_contain_text("AAPL")


async def test_a_reload_stays_signed_in_and_no_script_can_read_a_token(
    browser: Browser, guarded: Served
) -> None:
    async with opened(browser, guarded.address) as page:
        await sign_in(page, "ann", PASSWORD)
        await expect(page.locator("#user-button")).to_contain_text("ann")
        await page.reload()
        await expect(page.locator("#user-button")).to_contain_text("ann")
        kept = await page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        )
        assert not re.search(r"eyJ|jsk_", kept)
        (cookie,) = [one for one in await page.context.cookies() if "refresh" in one["name"]]
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"


async def test_who_signs_out_is_out(browser: Browser, guarded: Served) -> None:
    async with opened(browser, guarded.address) as page:
        await sign_in(page, "ann", PASSWORD)
        await expect(page.locator("#user-button")).to_contain_text("ann")
        await page.locator("#user-button").click()
        await page.get_by_role("menuitem", name="Sign out").click()
        await expect(page.get_by_label("Password")).to_be_visible()
        await page.reload()
        await expect(page.get_by_label("Password")).to_be_visible()


async def test_nothing_but_the_form_is_shown_to_who_is_not_signed_in(
    browser: Browser, guarded: Served
) -> None:
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{guarded.address}/api/v1/rules")).status_code == 401
    async with opened(browser, guarded.address) as page:
        await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        await expect(page.locator(".window")).to_have_count(0)
