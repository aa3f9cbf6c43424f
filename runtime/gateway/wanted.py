"""Which alerts a connection wants: those of the symbols, rules and watchlists it named.

    nothing named                      every alert
    {"symbols": [...]}                 and every further message that names one thing: alerts of any of them
    {"rules": [...]}
    {"watchlists": [...]}
    {"rules": [...], "symbols": ...}   alerts of these rules on these symbols or watchlists

Watchlists are names until they are looked up; a name that is no list has no symbols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SUBSCRIPTIONS_MAX = 2_000  # symbols, rules and watchlists of a connection
Names = frozenset[str]


@dataclass(frozen=True)
class Pair:
    """Alerts of these rules on these symbols and the symbols of these watchlists."""

    rules: Names
    symbols: Names
    watchlists: Names

    @property
    def size(self) -> int:
        """How many names it has."""
        return len(self.rules) + len(self.symbols) + len(self.watchlists)


@dataclass
class Wanted:
    """What one connection subscribed."""

    symbols: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)
    watchlists: set[str] = field(default_factory=set)
    pairs: list[Pair] = field(default_factory=list)
    lists: Mapping[str, Names] = field(default_factory=dict)  # symbols of the user's watchlists
    _listed: set[str] = field(default_factory=set)

    def add(self, rules: Names, symbols: Names, watchlists: Names) -> None:
        """Want these as well; raises ValueError beyond SUBSCRIPTIONS_MAX."""
        if self.size + len(rules) + len(symbols) + len(watchlists) > SUBSCRIPTIONS_MAX:
            fresh = len(rules - self.rules) + len(symbols - self.symbols)
            fresh += len(watchlists - self.watchlists)
            if self.size + fresh > SUBSCRIPTIONS_MAX:
                raise ValueError(f"at most {SUBSCRIPTIONS_MAX} subscriptions per connection")
        if rules and (symbols or watchlists):
            self.pairs.append(Pair(rules, symbols, watchlists))
        else:
            self.rules |= rules
            self.symbols |= symbols
            self.watchlists |= watchlists
        self.look_up(self.lists)

    def remove(self, rules: Names, symbols: Names, watchlists: Names) -> None:
        """Want these no more."""
        if rules and (symbols or watchlists):
            gone = Pair(rules, symbols, watchlists)
            self.pairs = [one for one in self.pairs if one != gone]
        else:
            self.rules -= rules
            self.symbols -= symbols
            self.watchlists -= watchlists
        self.look_up(self.lists)

    @property
    def size(self) -> int:
        """How many names there are."""
        alone = len(self.symbols) + len(self.rules) + len(self.watchlists)
        return alone + sum(one.size for one in self.pairs)

    @property
    def names_lists(self) -> bool:
        """Whether watchlists are named."""
        return bool(self.watchlists) or any(one.watchlists for one in self.pairs)

    def look_up(self, lists: Mapping[str, Names]) -> None:
        """Take the symbols of the user's watchlists as they are now."""
        self.lists = lists
        self._listed = {symbol for name in self.watchlists for symbol in lists.get(name, ())}

    def takes(self, rule: str, symbol: str) -> bool:
        """Whether an alert is wanted."""
        if symbol in self.symbols or symbol in self._listed or rule in self.rules:
            return True
        if self.pairs:
            return any(self._is_of(one, rule, symbol) for one in self.pairs)
        return not (self.symbols or self.rules or self.watchlists)

    def _is_of(self, pair: Pair, rule: str, symbol: str) -> bool:
        if rule not in pair.rules:
            return False
        listed = (self.lists.get(name, ()) for name in pair.watchlists)
        return symbol in pair.symbols or any(symbol in symbols for symbols in listed)
