"""Answers in gzip, for who asks for it and where it is worth the time."""

from __future__ import annotations

import asyncio
import gzip

from quart import Quart, Response, request

BYTES_MIN = 1_400  # one packet
BESIDE_MIN = 256 << 10  # more takes milliseconds: in a thread
LEVEL = 4
KINDS = (
    "application/json",
    "application/problem+json",
    "text/html",
    "text/css",
    "text/javascript",
    "image/svg+xml",
)
UNPACKED = "/api/v1/auth/"  # a secret beside what a caller chose must not be compressed: BREACH


def add(app: Quart) -> None:
    """Compress answers."""

    @app.after_request
    async def compress(response: Response) -> Response:
        if not _is_worth_it(response):
            return response
        response.vary.add("Accept-Encoding")
        if not request.accept_encodings["gzip"]:
            return response
        body = bytes(await response.get_data(as_text=False))
        if len(body) < BYTES_MIN:
            return response
        if len(body) < BESIDE_MIN:
            packed = gzip.compress(body, LEVEL, mtime=0)
        else:
            packed = await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
        response.set_data(packed)
        response.headers["Content-Encoding"] = "gzip"
        return response


def _is_worth_it(response: Response) -> bool:
    if response.status_code in (204, 206, 304) or "Content-Encoding" in response.headers:
        return False
    if request.path.startswith(UNPACKED) or request.method == "HEAD":
        return False
    size = response.content_length
    return response.mimetype in KINDS and (size is None or size >= BYTES_MIN)
