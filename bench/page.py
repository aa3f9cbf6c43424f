"""The page in a Chromium that was never there before: time to its first content and to its windows, and what it loads."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import httpx
import numpy as np

from bench.latency import _free_port
from bench.machinery import stage
from runtime.config import Settings
from runtime.subjects import Subjects

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PAINTED = """() => ({
  content: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
  windows: performance.now(),
  bytes: performance.getEntriesByType("resource").reduce((sum, one) => sum + one.transferSize, 0),
  files: performance.getEntriesByType("resource").filter((one) => one.name.includes("/page/")).length,
})"""


def run(
    settings: Settings, subjects: Subjects, quiet: bool, visits: int = 20
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes, and medians and the worst of visits with an empty cache; without a Chromium nothing but that."""
    sizes = {"visits": visits}
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        nothing = dict.fromkeys(("first_content_p50_ms", "first_content_max_ms", "windows_p50_ms"))
        return sizes, {**nothing, "missing": "no chromium on this machine"}
    return sizes, asyncio.run(_measure(subjects, chromium, visits))


async def _measure(subjects: Subjects, chromium: str, visits: int) -> dict[str, Any]:
    from playwright.async_api import async_playwright

    async with stage(subjects) as running, async_playwright() as playwright:
        port = _free_port()
        running.start("gateway", port=str(port))
        address = f"http://127.0.0.1:{port}/"
        await _answering(address)
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        told = [await _visit(browser, address) for _ in range(visits)]
        await browser.close()
    content, windows = ([one[name] for one in told] for name in ("content", "windows"))
    return {
        "first_content_p50_ms": round(float(np.median(content)), 1),
        "first_content_max_ms": round(max(content), 1),
        "windows_p50_ms": round(float(np.median(windows)), 1),
        "windows_max_ms": round(max(windows), 1),
        "kilobytes": round(float(np.median([one["bytes"] for one in told])) / 1024, 1),
        "files": told[0]["files"],
    }


async def _answering(address: str) -> None:
    async with httpx.AsyncClient() as http, asyncio.timeout(30):
        while True:
            try:
                (await http.get(f"{address}ready")).raise_for_status()
                return
            except httpx.HTTPError:
                await asyncio.sleep(0.1)


async def _visit(browser: Any, address: str) -> dict[str, float]:
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    page = await context.new_page()
    await page.goto(address)
    await page.wait_for_selector("body[data-ready]")
    told: dict[str, float] = await page.evaluate(PAINTED)
    await context.close()
    return told
