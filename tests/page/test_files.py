"""The page's files: a fixed list, under addresses that change with their content, and nothing else of the disk."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from quart import Quart

from runtime.gateway import static

INLINE = re.compile(
    rb"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE
)


@pytest.fixture
def app() -> Quart:
    app = Quart(__name__, static_folder=None)
    static.add(app)
    return app


async def test_every_file_is_sent_zipped_and_for_good_under_the_version(app: Quart) -> None:
    client = app.test_client()
    first = await (await client.get("/")).get_data()
    (script,) = re.findall(r'src="(/page/[0-9a-f]{12}/app\.js)"', first.decode())
    answer = await client.get(script, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.content_type == "text/javascript; charset=utf-8"
    assert gzip.decompress(await answer.get_data()) == (static.FOLDER / "app.js").read_bytes()


async def test_what_the_browser_has_is_not_sent_again(app: Quart) -> None:
    client = app.test_client()
    for path in ("/", "/page/app.js"):
        answer = await client.get(path)
        assert answer.headers["Cache-Control"] == "no-cache"
        again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
        assert await again.get_data() == b""


@pytest.mark.parametrize(
    "path",
    [
        "/page/../static.py",
        "/page/%2e%2e/static.py",
        "/page/..%2fstatic.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/vendor",
        "/page/",
        "/page/app.js%00",
        "/page/none.js",
        "/page/0123456789ab/../../app.py",
    ],
)
async def test_nothing_but_the_list_is_served(app: Quart, path: str) -> None:
    answer = await app.test_client().get(path, follow_redirects=True)
    assert answer.status_code in (404, 405)


async def test_a_file_that_comes_after_the_start_is_not_served_and_a_changed_one_is(
    tmp_path: Path,
) -> None:
    (tmp_path / "index.html").write_text('<script src="/page/a.js"></script>')
    (tmp_path / "a.js").write_text("1")
    shelf = static.Shelf(tmp_path)
    version = shelf.version
    (tmp_path / "b.js").write_text("2")
    (tmp_path / "a.js").write_text("3 is longer")
    shelf._read_at["a.js"] = 0  # as if it had been changed later
    shelf.refresh()
    assert shelf.get("b.js") is None
    found, first = shelf.get("a.js"), shelf.get("/")
    assert found is not None
    assert found.body == b"3 is longer"
    assert shelf.version != version
    assert first is not None
    assert f"/page/{shelf.version}/a.js".encode() in first.body


def test_the_page_has_no_script_or_style_that_a_strict_policy_forbids() -> None:
    assert not INLINE.search((static.FOLDER / "index.html").read_bytes())
    scripts = sorted(static.FOLDER.glob("*.js"))
    assert scripts
    for script in scripts:
        source = script.read_text(encoding="utf-8")
        assert not re.search(
            r"\beval\(|new Function\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write",
            source,
        ), script.name
        assert "http://" not in source.replace("http://www.w3.org/2000/svg", ""), script.name


def test_every_vendored_library_has_its_licence() -> None:
    libraries = [one for one in (static.FOLDER / "vendor").iterdir() if one.is_dir()]
    assert libraries
    for library in libraries:
        assert (library / "LICENSE").stat().st_size > 1_000


def test_every_file_says_first_why_it_exists() -> None:
    for path in [*static.FOLDER.glob("*.js"), *static.FOLDER.glob("*.css")]:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert re.match(r"(// |/\* )[A-Z].{20,}", first), path.name
