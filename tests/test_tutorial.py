"""The tutorial is done, block by block, in a project of its own: what it says happens."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_docs import Block, blocks_of, named

TUTORIAL = ROOT / "docs" / "functions.md"
LINKED = ("runtime", "migrations", "subjects.yaml", "pyproject.toml")
LIVE_S, COMMAND_S = 90, 90
LIVE = "is live"


@dataclass
class Reader:
    """Somebody who does what the page says, in a folder, and looks at what is printed."""

    folder: Path
    environment: dict[str, str]
    printed: str = ""
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def do(self, block: Block) -> None:
        if block.file:
            (self.folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "text":
            assert_printed(block, self.printed)
        elif block.label == "background":
            self.begin(block)
        else:
            self.run(block, 1 if block.label == "fails" else 0)

    def run(self, block: Block, code: int) -> None:
        """Commands, of which the last one ends with `code`, as told, and all others with 0."""
        done = subprocess.run(
            ["bash", "-e", "-c", block.text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        self.printed = done.stdout + done.stderr
        assert done.returncode == code, f"{named(block)}: {self.printed}"

    def begin(self, block: Block) -> None:
        """A command that goes on, as in a terminal of its own, until it says that it is live."""
        output = self.folder / f"background-{len(self.running)}.txt"
        with output.open("w", encoding="utf-8") as file:
            command = ["bash", "-c", f"exec {block.text}"]
            self.running.append(
                subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=self.environment,
                    stdout=file,
                    stderr=file,
                    text=True,
                )
            )
        until = time.monotonic() + LIVE_S
        while LIVE not in (text := output.read_text(encoding="utf-8")):
            assert time.monotonic() < until, text
            assert self.running[-1].poll() is None, text
            time.sleep(0.1)
        self.printed = text[text.rindex("\n", 0, text.index(LIVE)) + 1 :]

    def end(self) -> None:
        """Ctrl-C in every terminal."""
        for one in self.running:
            one.send_signal(signal.SIGINT)
        for one in self.running:
            one.wait(40)


def assert_printed(block: Block, printed: str) -> None:
    """Every line is printed, in this order; `...` at its end stands for the rest, alone for any lines."""
    left = printed.splitlines()
    for line in block.text.splitlines():
        if line == "...":
            continue
        pattern = ".*".join(re.escape(part) for part in line.split("..."))
        while left and not re.fullmatch(pattern, left[0]):
            left.pop(0)
        assert left, f"{named(block)}: expected {line!r} in\n{printed}"
        left.pop(0)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A clean clone, as far as the page needs one, and the commands of this environment."""
    folder, commands = tmp_path / "jetscan", tmp_path / "bin"
    shutil.copytree(ROOT / "functions", folder / "functions")
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    commands.mkdir()
    (commands / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    (commands / "jetscan").write_text(
        '#!/bin/sh\nexec python -m runtime.cli "$@"\n', encoding="utf-8"
    )
    for one in commands.iterdir():
        one.chmod(0o755)
    environment = {name: one for name, one in os.environ.items() if not name.startswith("JETSCAN_")}
    environment |= {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    environment |= {"JETSCAN_PORT": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    one = Reader(folder, environment)
    try:
        yield one
    finally:
        one.end()


def test_the_tutorial_happens_as_it_is_written(reader: Reader) -> None:
    blocks = blocks_of(TUTORIAL)
    kinds = {block.language for block in blocks}
    assert kinds == {"sh", "python", "text"}
    for block in blocks:
        reader.do(block)
    assert all(one.poll() is None for one in reader.running), "what runs in the background goes on"


def test_what_is_printed_is_compared_line_by_line(tmp_path: Path) -> None:
    block = Block(TUTORIAL, 1, "text", "", "a 1 ...\n...\nc\n")
    assert_printed(block, "x\na 1 2\nb\nc\n")
    for wrong in ("a 2 2\nc\n", "c\na 1 2\n", "a 1 2\ncc\n"):
        with pytest.raises(AssertionError, match=r"functions\.md:1: expected"):
            assert_printed(block, wrong)
