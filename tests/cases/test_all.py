"""Every case of the list of market edge cases, 1 to 76, has a test that carries its number."""

from __future__ import annotations

import re
from pathlib import Path

CASES = range(1, 77)


def test_every_case_has_a_test() -> None:
    text = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named = {int(number) for number in re.findall(r"def test_case_(\d+)_", text)}
    assert set(CASES) - named == set()
