"""The slow twin of bars under corrections: every print in a list, every bar made anew from those that count."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

MINUTE_NS = 60_000_000_000
HOLD_NS = 10_000_000_000
RECENT = 64
VOLUME, LAST, EXTREMES = 1, 2, 4


@dataclass(frozen=True)
class Print:
    symbol: str
    ts_ns: int
    price: float
    size: float
    upd: int = 7
    id: int = 0

    @property
    def minute(self) -> int:
        return self.ts_ns // MINUTE_NS


@dataclass(frozen=True)
class Correction:
    """`right` is the print as it should have been; None cancels."""

    wrong: Print
    right: Print | None

    def is_of(self, one: Print) -> bool:
        a, b = self.wrong, one
        if (a.symbol, a.price, a.size, a.upd) != (b.symbol, b.price, b.size, b.upd):
            return False
        return a.id == b.id if a.id and b.id else a.ts_ns == b.ts_ns

    def on(self, one: Print) -> Print | None:
        if self.right is None:
            return None
        right = self.right
        return replace(
            one, price=right.price, size=right.size, upd=right.upd, id=right.id or one.id
        )


@dataclass
class SlowBars:
    """Every print that came, in order; `now` is what counts of it, None where it was cancelled."""

    came: list[Print] = field(default_factory=list)
    now: list[Print | None] = field(default_factory=list)
    held: list[tuple[int, Correction]] = field(default_factory=list)
    clock_ns: int = 0
    taken: list[tuple[Print, Print | None]] = field(default_factory=list)  # of unknown originals
    blurred: set[tuple[str, int]] = field(
        default_factory=set
    )  # minutes that are not exact any more
    duplicates: int = 0
    repeated: int = 0

    def recent(self, symbol: str) -> list[int]:
        return [k for k, one in enumerate(self.came) if one.symbol == symbol][-RECENT:]

    def trade(self, one: Print) -> None:
        key = (one.id, one.ts_ns, one.price)
        for k in self.recent(one.symbol):
            known = self.now[k] or self.came[k]
            if one.id and key == (known.id, known.ts_ns, known.price):
                self.duplicates += 1
                return
        now: Print | None = one
        for waiting in list(self.held):
            if now is not None and waiting[1].is_of(now):
                now = waiting[1].on(now)
                self.held.remove(waiting)
        self.came.append(one)
        self.now.append(now)

    def correct(self, one: Correction) -> None:
        gone = False
        for k in reversed(self.recent(one.wrong.symbol)):
            now = self.now[k]
            if now is not None and one.is_of(now):
                self.now[k] = one.on(now)
                self.blur(one.wrong.symbol, now.minute)
                return
            gone |= now is None and one.is_of(self.came[k])
        if gone:
            self.repeated += 1
        else:
            self.held.append((self.clock_ns + HOLD_NS, one))

    def blur(self, symbol: str, minute: int) -> None:
        mine = [k for k, one in enumerate(self.came) if one.symbol == symbol]
        first = next(n for n, k in enumerate(mine) if self.came[k].minute == minute)
        if len(mine) - first > RECENT:
            self.blurred.add((symbol, minute))

    def clock(self, ts_ns: int) -> None:
        self.clock_ns = ts_ns
        for until_ns, one in [waiting for waiting in self.held if waiting[0] <= ts_ns]:
            self.held.remove((until_ns, one))
            self.taken.append((one.wrong, one.right))
            self.blurred.add((one.wrong.symbol, one.wrong.minute))

    def bars(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The bar of every minute in which a print came, made of the prints that count."""
        made: dict[tuple[str, int], dict[str, Any]] = {}
        for came, now in zip(self.came, self.now, strict=True):
            bar = made.setdefault((came.symbol, came.minute), {"lasts": [], "edges": [], "sizes": [], "money": []})  # fmt: skip
            if now is not None:
                bar["lasts"] += [now.price] if now.upd & LAST else []
                bar["edges"] += [now.price] if now.upd & EXTREMES else []
                bar["sizes"] += [now.size] if now.upd & VOLUME else []
                bar["money"] += [now.price * now.size] if now.upd & VOLUME else []
        return {key: bar_of(**bar) for key, bar in made.items()}


def bar_of(lasts: list[float], edges: list[float], sizes: list[float], money: list[float]) -> Any:
    bar: dict[str, Any] = {"volume": summed(sizes), "count": len(sizes)}
    if lasts:
        edges = edges or [lasts[0], lasts[-1]]
        bar |= {"open": lasts[0], "high": max(edges), "low": min(edges), "close": lasts[-1]}
        bar["vwap"] = summed(money) / bar["volume"] if bar["volume"] else float("nan")
    return bar


def summed(values: list[float]) -> float:
    """The left fold, whose rounding is that of the kernel."""
    total = 0.0
    for value in values:
        total += value
    return total
