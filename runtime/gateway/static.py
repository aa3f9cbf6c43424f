"""The files of the page: a fixed list made at start, ready to send, under an address that changes with them."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from quart import Quart, Response, abort, request

FOLDER = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    "LICENSE": "text/plain; charset=utf-8",
}
GZIP_MIN_BYTES = 1_000  # less does not pay for its header
FOR_GOOD = "public, max-age=31536000, immutable"  # its address has the version in it
ASK_AGAIN = "no-cache"  # kept, and asked whether it is still the same


@dataclass(frozen=True)
class Asset:
    """One file of the page as it is sent."""

    kind: str
    body: bytes
    zipped: bytes  # empty: not worth it
    tag: str


def asset_of(body: bytes, kind: str) -> Asset:
    """A file's bytes, ready to send."""
    small = gzip.compress(body, 9, mtime=0) if len(body) >= GZIP_MIN_BYTES else b""
    tag = hashlib.sha256(body).hexdigest()[:20]
    return Asset(kind, body, small if len(small) < len(body) else b"", tag)


class Shelf:
    """The files of a folder by their path below it. What was no file at start is never one.

    A file that is changed afterwards is read again, so that the page can be worked on while it is served.
    """

    def __init__(self, folder: Path) -> None:
        found = (path for path in sorted(folder.rglob("*")) if path.is_file())
        self._paths = {path.relative_to(folder).as_posix(): path for path in found if _kind(path)}
        self._assets: dict[str, Asset] = {}
        self._read_at: dict[str, int] = {}
        self.version = ""
        self.refresh()

    def refresh(self) -> None:
        """Read what changed; the version follows from all of them together."""
        changed = [name for name, path in self._paths.items() if self._is_newer(name, path)]
        for name in changed:
            self._assets[name] = asset_of(self._paths[name].read_bytes(), _kind(self._paths[name]))
        if not changed:
            return
        tags = "".join(asset.tag for asset in self._assets.values())
        self.version = hashlib.sha256(tags.encode()).hexdigest()[:12]
        self._assets["/"] = self._first()

    def get(self, name: str) -> Asset | None:
        """A file, or None where the list has no such name; `/` is the page itself."""
        return self._assets.get(name)

    def _is_newer(self, name: str, path: Path) -> bool:
        changed_ns = path.stat().st_mtime_ns
        is_newer = self._read_at.get(name) != changed_ns
        self._read_at[name] = changed_ns
        return is_newer

    def _first(self) -> Asset:
        """index.html with the version in the address of every file it names."""
        body = self._assets["index.html"].body
        return asset_of(
            body.replace(b'"/page/', f'"/page/{self.version}/'.encode()), KINDS[".html"]
        )


def _kind(path: Path) -> str:
    return KINDS.get(path.suffix) or KINDS.get(path.name, "")


def add(app: Quart) -> None:
    """Add the routes."""
    shelf = Shelf(FOLDER)

    @app.get("/")
    async def page() -> Response:
        shelf.refresh()
        found = shelf.get("/")
        return _answer(found, ASK_AGAIN) if found else abort(404, "Not found")

    @app.get("/page/<version>/<path:name>")
    async def versioned(version: str, name: str) -> Response:
        found = shelf.get(name)
        return (
            _answer(found, FOR_GOOD if version == shelf.version else ASK_AGAIN)
            if found
            else await asset(f"{version}/{name}")
        )

    @app.get("/page/<path:name>")
    async def asset(name: str) -> Response:
        found = shelf.get(name)
        return _answer(found, ASK_AGAIN) if found else abort(404, "Not found")


def _answer(asset: Asset, keeping: str) -> Response:
    """The file, zipped where the browser takes that; nothing but its tag where it has it already."""
    headers = {"ETag": f'"{asset.tag}"', "Cache-Control": keeping, "Vary": "Accept-Encoding"}
    if asset.tag in request.if_none_match:
        return Response(b"", 304, headers)
    is_zipped = bool(asset.zipped) and request.accept_encodings["gzip"] > 0
    if is_zipped:
        headers["Content-Encoding"] = "gzip"
    body = asset.zipped if is_zipped else asset.body
    return Response(body, 200, headers, content_type=asset.kind)
