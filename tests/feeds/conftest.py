"""What every test of a feed needs."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def always_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed of New York's stocks may be silent at night: tests run at any hour."""
    monkeypatch.setattr("runtime.providers.live.open_between", lambda *_: True)
