"""Rules as they are sent: JSON objects made into checked rules, each with the hash of what it means.

    {"id": "r1", "name": "RSI oversold", "cooldown": 300, "enabled": true, "conditions": [
        {"metric": "rsi_14", "operator": "<", "value": 30, "volume_threshold": 0,
         "calculated_during": "all"}]}
    {"id": "r2", "name": "Over the VWAP", "when": "price crosses above vwap_live", "once_per": "5m"}

`conditions` must all hold; `when` is a text or the JSON form of a tree. `op`, `cooldown_sec`, a rule that is one
condition, and metrics named rel_volume_5m are older spellings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from functions.market.letters import HALVES, UNWRITABLE, halved_field
from functions.rules import limits
from functions.rules.checks import check_symbols, check_timeframe, defaults_of, with_lists
from functions.rules.faults import RuleFault, shown
from functions.rules.forms import duration_of, from_json, number_of, only, timeframe_of, to_json
from functions.rules.scopes import Watchlists, scoped, watchlists_of, with_watchlists
from functions.rules.text import Told, parse_text
from functions.rules.tree import All, Changed, Compare, Condition, Crosses, Guard, Rule
from functions.rules.words import ID, SYMBOL

DEFAULT_COOLDOWN_S = 10
KEYS = (
    *("id", "name", "description", "conditions", "when", "symbols", "watchlist", "cooldown"),
    *("once_per", "enabled", "owner", "user_id", "shared", "created_at", "updated_at", "version"),
)
SINGLE = ("metric", "operator", "op", "value", "volume_threshold", "calculated_during", "timeframe", "value_type")  # fmt: skip


def check_rules(body: str) -> str:
    """A control body `{"rules": [...]}` with every rule checked; raises the first RuleFault (a ValueError)."""
    _, faults = parse_rules(body)
    if faults:
        raise faults[0]
    return body


def parse_rules(body: str) -> tuple[tuple[Rule, ...], tuple[RuleFault, ...]]:
    """The rules of a control body, ordered by id, and what is wrong with the others.

    A rule that does not compile is among the faults and stops no other. Raises RuleFault where the
    body itself is none.
    """
    rules: dict[str, Rule] = {}
    faults = []
    given_rules, lists, watchlists = told_of(body)
    with with_lists(lists), with_watchlists(watchlists):
        for given in given_rules:
            try:
                rule = parse_rule(given)
                if rule.id in rules:
                    raise RuleFault("each id once", "it twice", path=f"rule {rule.id}")
                rules[rule.id] = rule
            except RuleFault as fault:
                faults.append(fault)
    return tuple(rules[name] for name in sorted(rules)), tuple(faults)


def told_of(body: str) -> tuple[list[Any], list[str], Watchlists | None]:
    """The rules of a control body, the ids of the toplists that it brings and are enabled, its watchlists."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RuleFault('JSON: {"rules": [...]}', f"other text: {error}") from error
    rules = told.get("rules") if isinstance(told, dict) else None
    if not isinstance(rules, list):
        raise RuleFault('{"rules": [...]}', shown(told))
    if len(rules) > limits.RULES_MAX:
        raise RuleFault(f"at most {limits.RULES_MAX} rules", str(len(rules)))
    lists = told.get("toplists")
    ids = [
        one["id"]
        for one in (lists if isinstance(lists, list) else ())
        if isinstance(one, dict)
        and isinstance(one.get("id"), str)
        and one.get("enabled", True) is not False
    ]
    return rules, ids, watchlists_of(told)


def parse_rule(given: Any) -> Rule:
    """One rule from its JSON object; raises RuleFault."""
    if not isinstance(given, dict):
        raise RuleFault("a rule: an object", shown(given))
    halved = halved_field(given)
    if halved is not None:
        raise RuleFault("whole letters", HALVES, path=f"rule {_printable(given)}: {halved}")
    told = _modern(given)
    path = f"rule {told.get('id') or told.get('name') or '?'}"[: limits.NAME_MAX]
    only(told, KEYS, path)
    text, when = _when(told, path)
    rule = Rule(
        id=_id(told, "id", path),
        name=_name(told, path),
        when=when,
        cooldown_ns=_cooldown(told, path),
        once_per=_once_per(told, path),
        symbols=_symbols(told, path),
        watchlist=_id(told, "watchlist", path) if told.get("watchlist") else "",
        enabled=_enabled(told, path),
        owner=_owner(told, path),
    )
    return versioned(scoped(_with_clauses(rule, text)))


def _printable(given: dict[str, Any]) -> str:
    """What a rule that cannot be written is called: its id, if that is none of what is wrong."""
    name = given.get("id")
    return name if isinstance(name, str) and ID.fullmatch(name) else "?"


def parse_text_rule(text: str, rule_id: str = "", name: str = "") -> Rule:
    """A rule from its text alone; raises RuleFault."""
    told = parse_text(text)
    return versioned(_with_clauses(Rule(rule_id, name, told.when), told))


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """The JSON object of a rule; what stands at its default is left out."""
    cooldown = rule.cooldown_ns / limits.SECOND_NS
    told: dict[str, Any] = {"id": rule.id, "name": rule.name, "when": to_json(rule.when)}
    told["cooldown"] = int(cooldown) if cooldown == int(cooldown) else cooldown
    told["enabled"] = rule.enabled
    more = {
        "once_per": rule.once_per,
        "symbols": list(rule.symbols),
        "watchlist": rule.watchlist,
        "owner": rule.owner,
    }
    return told | {field: value for field, value in more.items() if value}


def versioned(rule: Rule) -> Rule:
    """The rule with the hash of its id and of what it means.

    Documented defaults are part of the meaning. A watchlist stands for its symbols and for those named
    beside it: they come and go without making it another rule.
    """
    meaning = {
        "when": to_json(settled(rule.when)),
        "cooldown_ns": rule.cooldown_ns,
        "once_per": rule.once_per,
        "symbols": rule.watchlist or sorted(rule.symbols),
    }
    text = f"{rule.id}|{json.dumps(meaning, sort_keys=True)}"
    version = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return replace(rule, version=version)


def settled(node: Any) -> Any:
    """The same condition, with every guard as its defaults make it."""
    if isinstance(node, Compare | Crosses | Changed):
        return replace(node, guard=Guard(*defaults_of(node)))
    if isinstance(node, tuple):
        return tuple(settled(part) for part in node)
    fields = {
        name: settled(part)
        for name, part in getattr(node, "__dict__", {}).items()
        if name in ("condition", "first", "second", "parts", "part")
    }
    return replace(node, **fields) if fields else node


# -- the fields of a rule


def _modern(given: dict[str, Any]) -> dict[str, Any]:
    """The object without older spellings of fields."""
    told = dict(given)
    if "cooldown_sec" in told:
        told.setdefault("cooldown", told["cooldown_sec"])
        del told["cooldown_sec"]
    if "metric" in told and "conditions" not in told and "when" not in told:
        told["conditions"] = [{name: told.pop(name) for name in SINGLE if name in told}]
        told.pop("type", None)
    return told


def _when(told: dict[str, Any], path: str) -> tuple[Told | None, Condition]:
    """The condition; with a text, what else it says."""
    if ("when" in told) == ("conditions" in told):
        raise RuleFault("either conditions or when", "both" if "when" in told else "neither", path=path)  # fmt: skip
    if "conditions" in told:
        return None, _conditions(told["conditions"], f"{path}: conditions")
    if not isinstance(told["when"], str):
        return None, from_json(told["when"], f"{path}: when")
    try:
        text = parse_text(told["when"])
    except RuleFault as fault:
        raise fault.under(f"{path}: when") from None
    return text, text.when


def _conditions(given: Any, path: str) -> Condition:
    if not isinstance(given, list) or not 0 < len(given) <= limits.PLAIN_MAX:
        raise RuleFault(f"a list of 1 to {limits.PLAIN_MAX} conditions", shown(given), path=path)
    parts = tuple(from_json(one, f"{path}[{k}]") for k, one in enumerate(given))
    return from_json(to_json(All(parts)), path) if len(parts) > 1 else parts[0]


def _with_clauses(rule: Rule, text: Told | None) -> Rule:
    """What the text says goes before the fields beside it."""
    if text is None:
        return rule
    said = {name: value for name, value in vars(text).items() if value is not None}
    return replace(rule, **said)


def _id(told: dict[str, Any], name: str, path: str) -> str:
    found = told.get(name)
    if not isinstance(found, str) or not ID.fullmatch(found):
        raise RuleFault("1 to 64 of letters, digits, - and _", shown(found), path=f"{path}: {name}")
    return found


def _name(told: dict[str, Any], path: str) -> str:
    found = told.get("name")
    if not _is_text(found) or not 0 < len(found) <= limits.NAME_MAX:
        raise RuleFault(f"1 to {limits.NAME_MAX} letters", shown(found), path=f"{path}: name")
    return str(found)


def _is_text(found: Any) -> bool:
    """Whether an alert can carry it and a database keep it: half a letter of UTF-16 and NUL cannot be."""
    return isinstance(found, str) and not UNWRITABLE.search(found)


def _cooldown(told: dict[str, Any], path: str) -> int:
    found = told.get("cooldown", DEFAULT_COOLDOWN_S)
    number = number_of(found)
    most = limits.COOLDOWN_MAX_NS // limits.SECOND_NS
    if isinstance(found, str):
        number = duration_of(found, f"{path}: cooldown") / limits.SECOND_NS
    if number is None or not 0 <= number <= most:
        raise RuleFault(f"seconds from 0 to {most}", shown(found), path=f"{path}: cooldown")
    return round(number * limits.SECOND_NS)


def _once_per(told: dict[str, Any], path: str) -> str:
    if not told.get("once_per"):
        return ""
    found = timeframe_of(told, "once_per")
    try:
        check_timeframe(found)
    except RuleFault as fault:
        raise fault.under(f"{path}: once_per") from None
    return found


def _symbols(told: dict[str, Any], path: str) -> tuple[str, ...]:
    found = told.get("symbols")
    if found is None:
        return ()
    path = f"{path}: symbols"
    if not isinstance(found, list):
        raise RuleFault("a list of symbols", shown(found), path=path)
    for one in found:
        if not isinstance(one, str) or not SYMBOL.fullmatch(one):
            raise RuleFault("a symbol", shown(one), path=path)
    try:
        return check_symbols(found)
    except RuleFault as fault:
        raise fault.under(path) from None


def _enabled(told: dict[str, Any], path: str) -> bool:
    found = told.get("enabled", True)
    if not isinstance(found, bool):
        raise RuleFault("true or false", shown(found), path=f"{path}: enabled")
    return found


def _owner(told: dict[str, Any], path: str) -> str:
    found = told.get("owner") or told.get("user_id") or ""
    if not _is_text(found) or len(found) > limits.NAME_MAX:
        raise RuleFault(f"at most {limits.NAME_MAX} letters", shown(found), path=f"{path}: owner")
    return str(found)
