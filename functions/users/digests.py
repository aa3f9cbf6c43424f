"""Digests: many alerts in one message, with counts by rule, the strongest, and where all of them stand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.users.matches import Matches, rfc3339, uuid_of

TOP = 20
RULES_SHOWN = 50  # of a digest; the others are counted
RULES_NAMED = 3  # in its message
SECOND_NS = 1_000_000_000
Digest = dict[str, Any]


def new_digest(reason: str) -> Digest:
    """An empty digest; `due_ns` is the alerts' or the clock's time at which it is said."""
    return {"reason": reason, "due_ns": 0, "count": 0, "rules": {}, "top": []}


def add(digest: Digest, due_ns: int, matches: Matches, places: NDArray[np.int64]) -> None:
    """Count the alerts at some places of a frame, at least one, in; none of them came before."""
    digest["due_ns"] = due_ns  # never earlier than before: the end of what holds now
    rules, firsts, counts = np.unique(matches.rule[places], return_index=True, return_counts=True)
    for rule, first, count in zip(rules, firsts, counts.tolist(), strict=True):
        name = matches.frame["rule_name"][places[first]]
        told = digest["rules"].setdefault(matches.rule_ids[rule], [name, 0])
        told[1] += count
    digest["count"] += len(places)
    numbers, ts_ns = matches.frame["number"][places], matches.ts_ns[places]
    digest.setdefault("first", int(numbers[0]))
    digest["last"] = int(numbers[-1])
    digest["from_ns"] = min(digest.get("from_ns", int(ts_ns[0])), int(ts_ns.min()))
    digest["to_ns"] = max(digest.get("to_ns", int(ts_ns[0])), int(ts_ns.max()))
    strongest = places[np.lexsort((numbers, -matches.strength[places]))[:TOP]]
    ranked = [*digest["top"], *(matches.short(place) for place in strongest.tolist())]
    digest["top"] = sorted(ranked, key=lambda one: (-one["strength"], one["seq"]))[:TOP]


def said(digest: Digest, user: str, ts_ns: int) -> dict[str, Any]:
    """The delivery of a digest at an event time."""
    ranked = sorted(digest["rules"].items(), key=lambda one: (-one[1][1], one[0]))
    cause = f"{user}|digest|{digest['reason']}|{digest['first']}|{digest['last']}"
    told = {
        "id": uuid_of(cause),
        "kind": "digest",
        "reason": digest["reason"],
        "count": digest["count"],
        "message": _message(digest, ranked),
        "from": rfc3339(digest["from_ns"]),
        "to": rfc3339(digest["to_ns"]),
        "rules": [
            {"rule_id": rule, "rule_name": name, "count": count}
            for rule, (name, count) in ranked[:RULES_SHOWN]
        ],
        "rules_more": max(0, len(ranked) - RULES_SHOWN),
        "top": digest["top"],
        "seq_from": digest["first"],
        "seq_to": digest["last"],
    }
    body = json.dumps(told, separators=(",", ":"))
    return {"ts_ns": ts_ns, "user": user, "id": told["id"], "kind": "digest", "body": body}


def _message(digest: Digest, ranked: list[tuple[str, list[Any]]]) -> str:
    span_s = max(1, -(-(digest["to_ns"] - digest["from_ns"]) // SECOND_NS))
    shown = ", ".join(f"{count} {name}" for _, (name, count) in ranked[:RULES_NAMED])
    more = len(ranked) - RULES_NAMED
    others = f" and {more} more rules" if more > 0 else ""
    return f"{digest['count']} alerts in {span_s} s: {shown}{others}"
