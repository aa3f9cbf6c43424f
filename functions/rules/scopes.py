"""The symbols a rule is for, where it names a watchlist: those of its owner, as the control body brings them.

    {"rules": [...], "watchlists": {"ann": {"mine": ["AAPL", "MSFT"]}}}

They come with the rules, in stream order, so a replay knows the symbols that the day knew. A body
without watchlists (a file of rules) leaves a rule the symbols that stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from functions.rules import limits
from functions.rules.faults import RuleFault, nearest, shown
from functions.rules.tree import Rule
from functions.rules.words import SYMBOL

Watchlists = Mapping[str, Mapping[str, tuple[str, ...]]]  # owner -> id -> symbols

WATCHLISTS: ContextVar[Watchlists | None] = ContextVar("WATCHLISTS", default=None)


@contextmanager
def with_watchlists(told: Watchlists | None) -> Iterator[None]:
    """Within it rules have the symbols of these watchlists; None = of those beside them."""
    token = WATCHLISTS.set(told)
    try:
        yield
    finally:
        WATCHLISTS.reset(token)


def watchlists_of(body: Mapping[str, Any]) -> Watchlists | None:
    """The watchlists of a control body; None where it brings none. Raises RuleFault."""
    told = body.get("watchlists")
    if told is None:
        return None
    if not isinstance(told, dict) or not all(isinstance(lists, dict) for lists in told.values()):
        raise RuleFault("watchlists by owner and id", shown(told))
    return {
        owner: {name: _symbols(name, symbols) for name, symbols in lists.items()}
        for owner, lists in told.items()
    }


def _symbols(name: str, told: Any) -> tuple[str, ...]:
    path = f"watchlist {name}"[: limits.NAME_MAX]
    if not isinstance(told, list) or len(told) > limits.SYMBOLS_MAX:
        raise RuleFault(f"a list of at most {limits.SYMBOLS_MAX} symbols", shown(told), path=path)
    for one in told:
        if not isinstance(one, str) or not SYMBOL.fullmatch(one):
            raise RuleFault("a symbol", shown(one), path=path)
    return tuple(sorted(set(told)))


def scoped(rule: Rule) -> Rule:
    """The rule with the symbols of the watchlist it names; raises RuleFault where its owner has none of that id."""
    known = WATCHLISTS.get()
    if not rule.watchlist or known is None:
        return rule
    lists = known.get(rule.owner, {})
    if rule.watchlist in lists:
        return replace(rule, symbols=lists[rule.watchlist])
    if rule.symbols:
        return rule
    raise RuleFault(
        "the id of a watchlist of the rule's owner",
        shown(rule.watchlist),
        nearest=nearest(rule.watchlist, lists),
        path=f"rule {rule.id}: watchlist"[: limits.NAME_MAX],
    )
