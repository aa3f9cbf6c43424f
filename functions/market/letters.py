"""Texts made of whole letters: half a letter of UTF-16 (a lone surrogate) has no bytes, so no message and no database holds it."""

from __future__ import annotations

import re
from typing import Any

UNWRITABLE = re.compile("[\\0\\ud800-\\udfff]")  # and NUL, which databases refuse
HALF = re.compile("[\\ud800-\\udfff]")
HALVES = "half a letter of UTF-16 (a lone surrogate)"


def has_halves(told: Any) -> bool:
    """Whether a text in a JSON value, the names of its fields included, has half a letter."""
    if isinstance(told, str):
        return HALF.search(told) is not None
    if isinstance(told, dict):
        return any(has_halves(name) or has_halves(one) for name, one in told.items())
    return isinstance(told, list) and any(has_halves(one) for one in told)


def halved_field(given: dict[str, Any]) -> str | None:
    """The field of an object in which there is half a letter, `a field` where it is in a name; None = in no one."""
    if any(has_halves(name) for name in given):
        return "a field"
    return next((str(name) for name, one in given.items() if has_halves(one)), None)
