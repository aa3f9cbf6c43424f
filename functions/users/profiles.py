"""What one user asked for: which alerts, when not, how often, and where to.

    {"subscriptions": [{"rules": ["r1"], "watchlists": ["tech"]}, {"symbols": ["AAPL"]}],
     "watchlists": {"tech": ["MSFT", "NVDA"]},
     "cooldown_s": 300,
     "quiet": [{"from": "22:00", "to": "07:00", "zone": "Europe/Berlin", "days": ["mon", "tue"]}],
     "mutes": [{"rule": "r1", "symbol": "MSFT", "until": "2026-01-05T20:00:00Z"}],
     "budget": {"alerts": 60, "window_s": 10},
     "channels": ["phone"]}

A subscription wants alerts of its rules on its symbols and those of its watchlists; what it does not
name it does not restrict, so `[{}]` is every alert and `[]` none. Everything may be left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.users.quiet import QuietHours, quiet_of

USERS_MAX = 1_000  # of one deployment; each costs a pass over every frame of alerts
BODY_CHARACTERS_MAX = 256 << 10  # a control message holds one profile
LIST_MAX = 10_000  # symbols of a watchlist: a whole market
SUBSCRIPTIONS_MAX = QUIET_MAX = 100
MUTES_MAX = 1_000
CHANNELS_MAX = 10
COOLDOWN_S, COOLDOWN_MAX_S = 300, 86_400
BUDGET, BUDGET_MAX = 60, 1_000
WINDOW_S, WINDOW_MAX_S = 10, 3_600
SECOND_NS = 1_000_000_000
FOREVER_NS = np.iinfo(np.int64).max
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
UNTIL = re.compile(r"\d{4}-\d\d-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,9})?)?)?)?Z", re.ASCII)
TEXT_MAX = 200
KEYS = {"subscriptions", "watchlists", "cooldown_s", "quiet", "mutes", "budget", "channels"}


class ProfileFault(ValueError):
    """A profile that cannot be used: which field, what was expected, what was found."""


@dataclass(frozen=True)
class Subscription:
    """Alerts of these rules on these symbols; None does not restrict."""

    rules: frozenset[str] | None
    symbols: frozenset[str] | None

    def wants(self, rule: str, symbol: str) -> bool:
        return (self.rules is None or rule in self.rules) and (
            self.symbols is None or symbol in self.symbols
        )


@dataclass(frozen=True)
class Mute:
    """No alerts of this rule, of this symbol or of this rule on this symbol until a time (ns UTC)."""

    rule: str
    symbol: str
    until_ns: int


@dataclass(frozen=True)
class Profile:
    """One user's profile, checked; times in nanoseconds."""

    subscriptions: tuple[Subscription, ...] = ()
    cooldown_ns: int = COOLDOWN_S * SECOND_NS
    quiet: tuple[QuietHours, ...] = ()
    mutes: tuple[Mute, ...] = ()
    budget: int = BUDGET
    window_ns: int = WINDOW_S * SECOND_NS
    channels: tuple[str, ...] = ()

    def wants(self, pairs: list[tuple[str, str]]) -> NDArray[np.bool_]:
        """Whether a subscription wants alerts of each rule and symbol."""
        if Subscription(None, None) in self.subscriptions:
            return np.ones(len(pairs), dtype=bool)
        wants = [any(one.wants(*pair) for one in self.subscriptions) for pair in pairs]
        return np.array(wants, dtype=bool)

    def muted_until_ns(self, rule: str, symbol: str) -> int:
        """Until when alerts of the rule on the symbol are muted; 0 = not at all."""
        return max(
            (
                one.until_ns
                for one in self.mutes
                if one.rule in ("", rule) and one.symbol in ("", symbol)
            ),
            default=0,
        )


def check_profile(body: str) -> str:
    """The body, if it can be used; raises ProfileFault."""
    profile_of(body)
    return body


@lru_cache(maxsize=USERS_MAX)
def profile_of(body: str) -> Profile:
    """The profile that a JSON text describes; raises ProfileFault."""
    if len(body) > BODY_CHARACTERS_MAX:
        raise ProfileFault(f"a profile may have {BODY_CHARACTERS_MAX} letters, found {len(body)}")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProfileFault(f"expected JSON: {error}") from error
    _known(told, KEYS, "profile")
    watchlists = told.get("watchlists", {})
    if not isinstance(watchlists, dict):
        raise ProfileFault(
            f"watchlists: expected names with lists of symbols, found {watchlists!r}"
        )
    lists = {name: _texts(told, f"watchlists.{name}", LIST_MAX, value) for name, value in watchlists.items()}  # fmt: skip
    budget = _known(told.get("budget", {}), {"alerts", "window_s"}, "budget")
    return Profile(
        subscriptions=tuple(
            _subscription(one, lists) for one in _list(told, "subscriptions", SUBSCRIPTIONS_MAX)
        ),
        cooldown_ns=_whole(told, "cooldown_s", COOLDOWN_S, 0, COOLDOWN_MAX_S) * SECOND_NS,
        quiet=tuple(_quiet(one) for one in _list(told, "quiet", QUIET_MAX)),
        mutes=tuple(_mute(one) for one in _list(told, "mutes", MUTES_MAX)),
        budget=_whole(budget, "alerts", BUDGET, 1, BUDGET_MAX),
        window_ns=_whole(budget, "window_s", WINDOW_S, 1, WINDOW_MAX_S) * SECOND_NS,
        channels=_channels(told),
    )


def _subscription(told: Any, watchlists: Mapping[str, frozenset[str]]) -> Subscription:
    _known(told, {"rules", "symbols", "watchlists"}, "subscription")
    rules = _texts(told, "rules", LIST_MAX) if "rules" in told else None
    if "symbols" not in told and "watchlists" not in told:
        return Subscription(rules, None)
    symbols = set(_texts(told, "symbols", LIST_MAX))
    for name in sorted(_texts(told, "watchlists", LIST_MAX)):
        if name not in watchlists:
            raise ProfileFault(
                f"subscription: expected one of the watchlists {sorted(watchlists)}, found {name!r}"
            )
        symbols |= watchlists[name]
    return Subscription(rules, frozenset(symbols))


def _quiet(told: Any) -> QuietHours:
    _known(told, {"from", "to", "zone", "days"}, "quiet")
    try:
        return quiet_of(told)
    except ValueError as error:
        raise ProfileFault(f"quiet: {error}") from error


def _mute(told: Any) -> Mute:
    _known(told, {"rule", "symbol", "until"}, "mute")
    rule, symbol = _text(told, "rule"), _text(told, "symbol")
    if not rule and not symbol:
        raise ProfileFault("mute: expected a rule, a symbol or both")
    until = _text(told, "until")
    if not until:
        return Mute(rule, symbol, FOREVER_NS)
    try:
        if not UNTIL.fullmatch(until):  # numpy reads "now" as well
            raise ValueError(until)
        until_us = int(np.datetime64(until[:-1], "us").astype(np.int64))
        return Mute(rule, symbol, min(max(until_us, 0) * 1_000, FOREVER_NS))
    except ValueError as error:
        raise ProfileFault(
            f"mute: until: expected a time in UTC such as 2026-01-05T20:00:00Z, found {until!r}"
        ) from error


def _channels(told: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_list(told, "channels", CHANNELS_MAX)))
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ProfileFault(
                f"channels: expected names of 1 to 64 letters, digits, - and _, found {name!r}"
            )
    return names


def _known(told: Any, names: set[str], what: str) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise ProfileFault(f"{what}: expected an object, found {told!r:.80}")
    unknown = sorted(set(told) - names)
    if unknown:
        raise ProfileFault(f"{what}: no field {unknown[0]!r}; there are {', '.join(sorted(names))}")
    return told


def _list(told: Mapping[str, Any], name: str, most: int) -> list[Any]:
    value = told.get(name, [])
    if not isinstance(value, list) or len(value) > most:
        raise ProfileFault(f"{name}: expected a list of at most {most}, found {value!r:.80}")
    return value


def _texts(told: Mapping[str, Any], name: str, most: int, value: Any = None) -> frozenset[str]:
    texts = value if value is not None else told.get(name, [])
    if not isinstance(texts, list) or len(texts) > most:
        raise ProfileFault(f"{name}: expected a list of at most {most} texts, found {texts!r:.80}")
    for text in texts:
        if not isinstance(text, str) or not 0 < len(text) <= TEXT_MAX:
            raise ProfileFault(f"{name}: expected texts of 1 to {TEXT_MAX} letters, found {text!r}")
    return frozenset(texts)


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name) or ""
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise ProfileFault(f"{name}: expected a text of at most {TEXT_MAX}, found {value!r:.80}")
    return value


def _whole(told: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = told.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ProfileFault(
            f"{name}: expected a whole number from {least} to {most}, found {value!r:.80}"
        )
    return value
