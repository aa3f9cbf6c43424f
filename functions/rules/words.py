"""The text of a rule as words, numbers and signs, each with its place, read one at a time."""

from __future__ import annotations

import re
from typing import NamedTuple

from functions.rules.faults import RuleFault, nearest, shown
from functions.rules.limits import TEXT_BYTES_MAX
from functions.rules.units import WORDS

BLANK = re.compile(r"(?:\s|#[^\n]*)*")
WORD = re.compile(
    r"""(?P<name>re-arms?\b|[A-Za-z_][A-Za-z0-9_]*(?:\.[0-9][A-Za-z0-9_]*)?)
      | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?P<suffix>[A-Za-z%][A-Za-z0-9_]*)?
      | (?P<sign>>=|<=|==|!=|=>|=<|<>|[><=+\-*/(),$%])""",
    re.VERBOSE | re.IGNORECASE,
)
SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/^+=-]{0,63}")
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAGNITUDES = {"k": 3, "K": 3, "M": 6, "B": 9, "b": 9}


class Word(NamedTuple):
    """A piece of the text: its kind (name, number, sign, end), its letters, what follows a number."""

    kind: str
    text: str
    start: int
    end: int
    suffix: str = ""

    @property
    def lower(self) -> str:
        return self.text.lower() if self.kind == "name" else self.text

    @property
    def told(self) -> str:
        return "the end" if self.kind == "end" else shown(self.text + self.suffix)


class Words:
    """The words of a text from a place on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.end = 0  # of the last word taken
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > TEXT_BYTES_MAX:
            raise RuleFault(f"at most {TEXT_BYTES_MAX} bytes of text", f"{size}")

    def peek(self) -> Word:
        """The next word, left where it is."""
        return self._at(self.place)

    def after(self) -> Word:
        """The word after the next."""
        return self._at(self.peek().end)

    def take(self) -> Word:
        """The next word."""
        word = self.peek()
        self.place = self.end = word.end
        return word

    def accept(self, *wanted: str) -> bool:
        """Whether the next word is one of these; then it is taken."""
        if self.peek().lower not in wanted:
            return False
        self.take()
        return True

    def expect(self, *wanted: str) -> Word:
        """The next word, which must be one of these."""
        word = self.peek()
        if word.lower not in wanted or word.suffix:
            raise self.fault(" or ".join(wanted), word, nearest(word.lower, wanted))
        return self.take()

    def raw(self, pattern: re.Pattern[str], what: str) -> str:
        """What a pattern finds at the next place: a symbol or an id, which are no words."""
        start = self._skip(self.place)
        found = pattern.match(self.text, start)
        if found is None:
            raise self.fault(what, self.peek())
        self.place = self.end = found.end()
        return found[0]

    def fault(self, expected: str, word: Word, near: str = "") -> RuleFault:
        """What is wrong with a word."""
        return RuleFault(
            expected, word.told, nearest=near, text=self.text, start=word.start, end=word.end
        )

    def _skip(self, place: int) -> int:
        found = BLANK.match(self.text, place)
        return found.end() if found else place

    def _at(self, place: int) -> Word:
        start = self._skip(place)
        if start == len(self.text):
            return Word("end", "", start, start)
        found = WORD.match(self.text, start)
        if found is None:
            letter = Word("sign", self.text[start], start, start + 1)
            raise self.fault("a metric, a number or one of > < >= <= == != + - * / ( ) ,", letter)
        kind = str(found.lastgroup) if found.lastgroup != "suffix" else "number"
        return Word(kind, found[kind], start, found.end(), found["suffix"] or "")


def number_of(words: Words, word: Word) -> tuple[float, str]:
    """The value of a number and its unit, from what is written at it: `100k`, `3%`, `5m`."""
    power, unit = MAGNITUDES.get(word.suffix, 0), ""
    if word.suffix and not power:
        unit = WORDS.get(word.suffix.lower(), "")
        if not unit:
            known = [*MAGNITUDES, *WORDS]
            raise words.fault(
                "a number, which may end with k M B, %, x, s m h d or a unit",
                word,
                nearest(word.suffix, known),
            )
    digits, _, exponent = word.text.lower().partition("e")
    return float(f"{digits}e{min(int(exponent or 0), 999) + power}"), unit
