"""The files of the page."""

from __future__ import annotations

import os
from typing import Any

from quart import Quart, abort, send_from_directory


def add(app: Quart) -> None:
    """Add the routes."""
    files = {"app.js", "style.css", "icon.svg"}

    @app.get("/")
    async def page() -> Any:
        return await send_from_directory(_page_folder(), "index.html")

    @app.get("/page/<name>")
    async def asset(name: str) -> Any:
        if name not in files:
            abort(404, "Not found")
        return await send_from_directory(_page_folder(), name)


def _page_folder() -> str:
    return os.path.join(os.path.dirname(__file__), "page")  # noqa: PTH118, PTH120 -- Quart wants text
