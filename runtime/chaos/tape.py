"""A market for chaos feeds: prints of a few symbols at a rate, each symbol's numbered from 1 without holes."""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

PRINTS_MAX = 2_000_000  # kept to be sent again; older ones are forgotten
CENT = 0.01


@dataclass(frozen=True, slots=True)
class Print:
    """One trade."""

    symbol: str
    number: int  # of the symbol
    ts_ns: int
    price: float
    size: int


class Tape:
    """What the market did since somebody first asked for it; it goes on by itself as its clock does."""

    def __init__(
        self,
        symbols: Sequence[str],
        rate: float,
        seed: int = 1,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.symbols, self._rate, self._now_ns = list(symbols), rate, now_ns
        self._draw = random.Random(seed)
        self._began_ns = 0
        self._price = {one: round(self._draw.uniform(5, 200), 2) for one in symbols}
        self._count = dict.fromkeys(symbols, 0)
        self._prints: list[Print] = []
        self._forgotten = 0

    @property
    def end(self) -> int:
        """How many prints there were."""
        return self._forgotten + len(self._prints)

    def begin(self) -> None:
        """Let the market begin, if it has not."""
        self._began_ns = self._began_ns or self._now_ns()

    def run(self) -> int:
        """Print what is due by now; how many prints there were."""
        if not self._began_ns:
            return 0
        due = int((self._now_ns() - self._began_ns) / 1e9 * self._rate)
        while self.end < due:
            self._print()
        if len(self._prints) > PRINTS_MAX:
            gone = len(self._prints) - PRINTS_MAX // 2
            del self._prints[:gone]
            self._forgotten += gone
        return self.end

    def _print(self) -> None:
        symbol = self._draw.choice(self.symbols)
        self._count[symbol] += 1
        step = self._draw.choice((-CENT, 0.0, CENT))
        self._price[symbol] = max(1.0, round(self._price[symbol] + step, 2))
        ts_ns = self._began_ns + int(self.end / self._rate * 1e9)
        size = self._draw.randrange(1, 10) * 100
        self._prints.append(Print(symbol, self._count[symbol], ts_ns, self._price[symbol], size))

    def place(self, ts_ns: int) -> int:
        """How many prints there were before a time."""
        return self._forgotten + bisect_left(self._prints, ts_ns, key=lambda one: one.ts_ns)

    def between(self, begin: int, end: int, symbols: set[str] | None = None) -> list[Print]:
        """Prints from one place on to before another, of some symbols or of all."""
        first = max(begin - self._forgotten, 0)
        some = self._prints[first : max(end - self._forgotten, 0)]
        return some if symbols is None else [one for one in some if one.symbol in symbols]

    def of(self, symbol: str) -> Iterator[Print]:
        """What is kept of a symbol, oldest first."""
        return (one for one in self._prints if one.symbol == symbol)
