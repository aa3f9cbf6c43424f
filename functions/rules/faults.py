"""What is wrong with a rule: where, what was expected, what was found, the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MISWRITTEN = {"=": "==", "=>": ">=", "=<": "<=", "<>": "!="}
WORD_MAX = 64  # a longer word is near to nothing, and looking would take long


class RuleFault(ValueError):
    """A rule that cannot be used.

    `path` leads to the place in JSON (`rule r1: conditions[0].metric`); `text` is the rule's text where
    it has one, and `start` and `end` are the letters of it that are wrong, counted from 0.
    """

    def __init__(
        self,
        expected: str,
        found: str = "",
        *,
        nearest: str = "",
        path: str = "",
        text: str | None = None,
        start: int = 0,
        end: int = 0,
    ) -> None:
        super().__init__(expected, found)
        self.expected, self.found, self.nearest = expected, found, nearest
        self.path, self.text = path, text
        self.start, self.end = start, end

    @property
    def line(self) -> int:
        """The line of the text, from 1; 0 without a text."""
        return 0 if self.text is None else self.text.count("\n", 0, self.start) + 1

    @property
    def column(self) -> int:
        """The column of the text, from 1; 0 without a text."""
        return 0 if self.text is None else self.start - self._line_start() + 1

    @property
    def message(self) -> str:
        """What was expected, what was found, the nearest name; without the place."""
        found = f", found {self.found}" if self.found else ""
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"expected {self.expected}{found}{hint}"

    def __str__(self) -> str:
        place = "" if self.text is None else f"line {self.line}, column {self.column}"
        where = ": ".join(part for part in (self.path, place) if part)
        return f"{where}: {self.message}{self._drawn()}" if where else self.message

    def as_dict(self) -> dict[str, object]:
        """The fault as JSON values, for programs and editors."""
        return {
            "message": self.message,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "start": self.start,
            "end": self.end,
            "expected": self.expected,
            "found": self.found,
            "nearest": self.nearest,
        }

    def under(self, path: str) -> RuleFault:
        """The same fault, with what leads to it put before its path."""
        gap = "" if not self.path or self.path.startswith(("[", ".")) else ": "
        self.path = f"{path}{gap}{self.path}"
        return self

    def at(self, text: str, start: int, end: int) -> RuleFault:
        """The same fault with a place in a text, unless it has one."""
        if self.text is None:
            self.text, self.start, self.end = text, start, end
        return self

    def _line_start(self) -> int:
        return (self.text or "").rfind("\n", 0, self.start) + 1

    def _drawn(self) -> str:
        """The line that is wrong, and a caret under each letter of it that is."""
        if self.text is None:
            return ""
        start = self._line_start()
        line = self.text[start:].split("\n", 1)[0]
        wide = max(1, min(self.end, start + len(line)) - self.start)
        blank = "".join("\t" if one == "\t" else " " for one in line[: self.start - start])
        return f"\n    {line}\n    {blank}{'^' * wide}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name most like a word; empty where none is like it."""
    if len(word) > WORD_MAX:
        return ""
    names = list(known)
    if MISWRITTEN.get(word) in names:
        return MISWRITTEN[word]
    found = difflib.get_close_matches(word, names, 1)
    return found[0] if found else ""


def shown(found: object) -> str:
    """What was found, short enough for a message."""
    text = repr(found)
    return text if len(text) <= WORD_MAX else text[: WORD_MAX - 3] + "..."
