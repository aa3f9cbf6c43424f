"""What the functions say of rules that are typed or lie in files, for `jetscan rules`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.loader import Plan

SUBJECT = "ask.rules"  # the function that accepts it answers with JSON: rules and faults


class RulesError(Exception):
    """A question about rules that cannot be asked; the message says why."""


def answers(plan: Plan, asked: str) -> dict[str, list[dict[str, Any]]]:
    """`{"rules": [...], "faults": [...]}` of a file, of standard input (`-`) or of the text of a rule.

    Raises RulesError where the file cannot be read, or no function answers.
    """
    text = _text_of(asked)
    for one in plan.functions:
        accept = one.declaration.accepts.get(SUBJECT)
        if accept is not None:
            found: dict[str, list[dict[str, Any]]] = json.loads(accept(text))
            return found
    raise RulesError(f"no function answers {SUBJECT}; see jetscan functions")


def lines(told: dict[str, list[dict[str, Any]]], field: str) -> Iterator[str]:
    """A field of every rule (text, english, flip), behind its id where there are several."""
    rules = told["rules"]
    for rule in rules:
        yield f"{rule['id']}: {rule[field]}" if len(rules) > 1 else str(rule[field])


def _text_of(asked: str) -> str:
    if asked == "-":
        return sys.stdin.read()
    try:
        if Path(asked).is_file():
            return Path(asked).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RulesError(f"{asked}: expected UTF-8 text: {error}") from error
    except (OSError, ValueError):  # a text of a rule may be too long for a file name
        return asked
    if asked.endswith((".json", ".rule", ".txt")):
        raise RulesError(f"no file {asked}")
    return asked
