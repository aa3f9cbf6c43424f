"""Toplists as their owners configure them: what may be asked for, checked, with the nearest valid name.

    {"id": "cheap_gainers", "name": "Cheap gainers", "metric": "change_pct", "time_window": "5m",
     "sort_order": "desc", "filters": {"price_max": 20, "min_volume": 100000},
     "columns": ["relative_volume_5m", "float"], "enabled": true}

`metric` is one of five families with a `time_window`, or any metric of the vocabulary without one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from functions.market.letters import HALVES, UNWRITABLE, halved_field
from functions.market.metrics import ALIASES, NAMES
from functions.market.toplists import LISTS
from functions.market.vocabulary import toplists

LISTS_MAX = 200  # of all users together: each is ranked every second, 0.1 ms in a partition
COLUMNS_MAX = 8  # the wire has c0 to c7
NAME_MAX = 200
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
WINDOWS = ("1m", "5m", "15m", "1h", "1d")
FAMILIES: dict[str, dict[str, str]] = {
    "change_pct": {
        "1m": "change_pct_1m",
        "5m": "change_pct_5m",
        "15m": "change_pct_15m",
        "1h": "change_pct_60m",
        "1d": "change_from_close_pct",
    },
    "volume": {
        "1m": "volume_1m",
        "5m": "volume_5m",
        "15m": "volume_15m",
        "1h": "volume_60m",
        "1d": "volume_daily",
    },
    "rsi": {"1m": "rsi_14", "5m": "rsi_14_5m", "15m": "rsi_14_15m", "1d": "rsi_14_daily"},
    "relative_volume": {
        "1m": "relative_volume_1m",
        "5m": "relative_volume_5m",
        "15m": "relative_volume_15m",
        "1d": "relative_volume_daily",
    },
    "vwap_dist": {"5m": "vwap_dist_5m_pct", "1d": "vwap_dist_pct"},
}
# filter -> (metric, whether the metric must be at least the value; else at most)
FILTERS = {
    "min_volume": ("volume_daily", True),
    "min_change_pct": ("change_from_close_pct", True),
    "price_min": ("price", True),
    "price_max": ("price", False),
    "market_cap_min": ("marketcap", True),
    "market_cap_max": ("marketcap", False),
}
COLOURS = ("positive", "negative", "neutral")
KEYS = frozenset(
    "id user_id name description metric time_window sort_order filters columns color_scheme "
    "enabled created_at updated_at".split()
)


class ListFault(ValueError):
    """A toplist that cannot be used: which field, what was expected, what was found."""


@dataclass(frozen=True)
class Toplist:
    """A checked toplist.

    filters   (metric, is at least, value); a symbol whose metric is absent does not rank
    key       its sorted set for outside readers
    """

    id: str
    metric: str
    is_falling: bool
    filters: tuple[tuple[str, bool, float], ...] = ()
    exchange: str = ""
    columns: tuple[str, ...] = ()
    user: str = ""
    key: str = ""

    @property
    def metrics(self) -> frozenset[str]:
        """Everything that has to be computed for it."""
        return frozenset((self.metric, *self.columns, *(one[0] for one in self.filters)))

    @property
    def version(self) -> int:
        """A number above 0 that changes with what is ranked."""
        digest = hashlib.blake2b(repr(self).encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little") or 1


def _system() -> tuple[Toplist, ...]:
    places = {metric: (f, w) for f, by in FAMILIES.items() for w, metric in by.items()}
    return tuple(
        Toplist(name, metric, falling, key="toplist:{}:{}".format(*places[metric]))
        for name, (metric, falling) in LISTS.items()
    )


SYSTEM = _system()


def listed_toplists(names: str) -> str:
    """The system lists as their owners would configure them, as JSON, for whoever shows them.

    `names`, separated by blanks, are the lists wanted; none is all of them.
    """
    titles = {str(row["name"]): row["title"] for row in toplists()}
    wanted = names.split() or list(LISTS)
    return json.dumps([_configured(one, titles[one.id]) for one in SYSTEM if one.id in wanted])


def _configured(one: Toplist, title: object) -> dict[str, object]:
    _, metric, window = one.key.split(":")
    order = "desc" if one.is_falling else "asc"
    told = {"id": one.id, "user_id": "", "name": title, "metric": metric, "time_window": window}
    return {**told, "sort_order": order, "columns": [], "enabled": True}


def check_toplists(body: str) -> str:
    """A control body with every toplist in it checked; raises ListFault (a ValueError)."""
    parse_toplists(body)
    return body


def parse_toplists(body: str) -> tuple[Toplist, ...]:
    """The system lists and the enabled lists of a control body; raises the first ListFault."""
    lists, faults = _read(body)
    if faults:
        raise faults[0]
    return lists


def usable_toplists(body: str) -> tuple[Toplist, ...]:
    """The same without those that cannot be used any more; the same text gives the same object."""
    return _read(body)[0]


@lru_cache(maxsize=8)
def _read(body: str) -> tuple[tuple[Toplist, ...], tuple[ListFault, ...]]:
    found, faults = {one.id: one for one in SYSTEM}, []
    try:
        given = _given(body)
    except ListFault as fault:
        return SYSTEM, (fault,)
    if len(given) > LISTS_MAX:
        faults.append(ListFault(f"expected at most {LISTS_MAX} toplists, found {len(given)}"))
    for one in given[:LISTS_MAX]:
        if isinstance(one, dict) and one.get("enabled", True) is False:
            continue
        try:
            parsed = parse_toplist(one)
            if parsed.id in found:
                raise ListFault(f"toplist {parsed.id}: stands twice, or is the id of a system list")
            found[parsed.id] = parsed
        except ListFault as fault:
            faults.append(fault)
    return tuple(found.values()), tuple(faults)


def _given(body: str) -> list[Any]:
    try:
        told = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise ListFault(f"not JSON: {error}") from error
    given = told.get("toplists", []) if isinstance(told, dict) else None
    if not isinstance(given, list):
        raise ListFault('expected {"toplists": [...]}')
    return given


def parse_toplist(given: Any) -> Toplist:
    """One toplist in the shape of the wire; raises ListFault."""
    if not isinstance(given, Mapping):
        raise ListFault(f"expected an object, found {type(given).__name__}")
    halved = halved_field(dict(given))
    if halved is not None:
        raise ListFault(f"toplist: {halved}: expected whole letters, found {HALVES}")
    where = f"toplist {given.get('id') or given.get('name') or '?'}"
    _only(given, KEYS, where)
    name = _text(given, "id", where)
    if not ID.fullmatch(name):
        raise ListFault(
            f"{where}: id: expected 1 to 64 of letters, digits, - and _, found {name!r}"
        )
    if not 0 < len(_text(given, "name", where)) <= NAME_MAX:
        raise ListFault(f"{where}: name: expected 1 to {NAME_MAX} letters")
    user = given.get("user_id") or ""
    if not isinstance(user, str) or UNWRITABLE.search(user):
        raise ListFault(f"{where}: user_id: expected a text without NUL, found {user!r}")
    order = given.get("sort_order", "desc")
    if order not in ("asc", "desc"):
        raise ListFault(f"{where}: sort_order: expected asc or desc, found {order!r}")
    _check_colours(given.get("color_scheme"), where)
    filters, exchange = _filters(given.get("filters") or {}, where)
    return Toplist(
        name,
        _metric(given, where),
        order == "desc",
        filters,
        exchange,
        _columns(given.get("columns") or [], where),
        user,
        f"toplist:user:{user}:{name}",
    )


def _metric(given: Mapping[str, Any], where: str) -> str:
    metric = _text(given, "metric", where)
    window = _text(given, "time_window", where) if given.get("time_window") else ""
    if metric in FAMILIES and window:
        by = FAMILIES[metric]
        if window not in by:
            raise ListFault(
                f"{where}: time_window: of {metric} expected one of {', '.join(by)}, found {window!r}"
            )
        return by[window]
    if metric in FAMILIES and ALIASES.get(metric, metric) not in NAMES:
        raise ListFault(f"{where}: time_window: expected one of {', '.join(FAMILIES[metric])}")
    if window:
        raise ListFault(
            f"{where}: time_window: only {', '.join(FAMILIES)} have one, found {window!r}"
        )
    return _known(metric, [*FAMILIES], f"{where}: metric")


def _known(metric: Any, others: list[str], where: str) -> str:
    """The own name of a metric."""
    if isinstance(metric, str) and ALIASES.get(metric, metric) in NAMES:
        return ALIASES.get(metric, metric)
    near = difflib.get_close_matches(str(metric), [*NAMES, *ALIASES, *others], 1)
    hint = f"; did you mean {near[0]}?" if near else "; `jetscan metrics --list` has all"
    raise ListFault(f"{where}: no metric {metric!r}{hint}")


def _filters(given: Any, where: str) -> tuple[tuple[tuple[str, bool, float], ...], str]:
    if not isinstance(given, Mapping):
        raise ListFault(f"{where}: filters: expected an object, found {type(given).__name__}")
    _only(given, frozenset((*FILTERS, "exchange")), f"{where}: filters")
    found = []
    for name, value in given.items():
        if value is None or name == "exchange":
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not abs(value) <= sys.float_info.max  # NaN, and whole numbers no float can hold
        ):
            raise ListFault(f"{where}: filters: {name}: expected a number, found {value!r}")
        found.append((*FILTERS[name], float(value)))
    exchange = given.get("exchange") or ""
    if not isinstance(exchange, str) or (exchange and not ID.fullmatch(exchange)):
        raise ListFault(f"{where}: filters: exchange: expected a code (XNAS), found {exchange!r}")
    return tuple(found), exchange


def _columns(given: Any, where: str) -> tuple[str, ...]:
    if not isinstance(given, list) or len(given) > COLUMNS_MAX:
        raise ListFault(f"{where}: columns: expected a list of at most {COLUMNS_MAX} metrics")
    return tuple(_known(one, [], f"{where}: columns") for one in given)


def _check_colours(given: Any, where: str) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping) or not all(isinstance(one, str) for one in given.values()):
        raise ListFault(f"{where}: color_scheme: expected {', '.join(COLOURS)} with colours")
    _only(given, frozenset(COLOURS), f"{where}: color_scheme")


def _text(given: Mapping[str, Any], name: str, where: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise ListFault(f"{where}: {name}: expected a text, found {value!r}")
    return value


def _only(given: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = (
                f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
            )
            raise ListFault(f"{where}: {name}: no such field{hint}")
