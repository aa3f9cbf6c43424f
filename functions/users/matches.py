"""The alerts of a frame as users are told of them: rules and symbols numbered, one alert as JSON."""

from __future__ import annotations

import json
from functools import cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

FIRED = "fired"  # what an alert says that does not say what happened to it
FOLLOWS = ("amended", "withdrawn")  # kinds that are about an alert said before
SAFE_INTEGER_MAX = 2**53 - 1  # Number.MAX_SAFE_INTEGER: beyond it JSON has texts


class Matches:
    """The alerts of one frame of `alerts.filtered`.

    frame     the frame; ts_ns (n,) the alerts' times
    heard_ns  (n,) the newest alert's time so far, at each
    pairs     the rules and symbols that occur together; pair (n,) the number of each alert's
    rule      (n,) the number of each alert's rule in rule_ids
    strength  (n,) 0 where there is none
    follows   (n,) whether it amends or withdraws an alert said before
    """

    def __init__(self, frame: Any, heard_ns: NDArray[np.int64]) -> None:
        self.frame, self.heard_ns, self.ts_ns = frame, heard_ns, frame["ts_ns"]
        rules, self._symbols = frame["rule_id"].tolist(), frame["symbol"].tolist()
        both = list(zip(rules, self._symbols, strict=True))
        self.pairs, self.pair = numbered(both)
        self.rule_ids, self.rule = numbered(rules)
        strength = frame.get("strength", np.zeros(len(frame)))
        self.strength = np.where(np.isfinite(strength), strength, 0.0)
        kinds = frame["kind"].tolist() if "kind" in frame else [FIRED] * len(rules)
        self.follows = np.array([kind in FOLLOWS for kind in kinds], dtype=bool)
        self.short, self.body = cache(self._short), cache(self._body)  # many users share them

    def _short(self, place: int) -> dict[str, Any]:
        """What a digest shows of an alert."""
        return {**self._common(place), "strength": float(self.strength[place])}

    def _common(self, place: int) -> dict[str, Any]:
        frame, ts_ns = self.frame, int(self.ts_ns[place])
        return {
            "id": frame["id"][place],
            "rule_id": frame["rule_id"][place],
            "rule_name": frame["rule_name"][place],
            "symbol": self._symbols[place],
            "timestamp": rfc3339(ts_ns),
            "ts_ns": ts_ns,
            "price": float(frame["price"][place]),
            "seq": int(frame["number"][place]),
        }

    def _body(self, place: int) -> str:
        """An alert as docs/wire.md has it, as JSON."""
        kind, reason = self._kind(place), self._reason(place)
        alert = {**self._common(place), "kind": kind}
        if "strength" in self.frame:
            alert["strength"] = float(self.strength[place])
        alert["message"] = message_of(alert["rule_name"], alert["symbol"], kind, reason)
        if reason:
            alert["reason"] = reason
        alert["metadata"] = metadata_of(self.frame["values"][place])
        return json.dumps(alert, separators=(",", ":"))

    def _kind(self, place: int) -> str:
        """alert, amended or withdrawn."""
        return str(self.frame["kind"][place]) if self.follows[place] else "alert"

    def _reason(self, place: int) -> str:
        return str(self.frame["reason"][place]) if "reason" in self.frame else ""

    def delivery(self, place: int, user: str) -> dict[str, Any]:
        """The delivery of an alert to a user."""
        kind = str(self.frame["kind"][place]) if "kind" in self.frame else FIRED
        cause = f"{user}|{self.frame['id'][place]}" + (f"|{kind}" if kind != FIRED else "")
        if self.follows[place]:  # an alert may be amended several times
            cause += f"|{self.frame['number'][place]}"
        return {
            "ts_ns": int(self.ts_ns[place]),
            "user": user,
            "id": uuid_of(cause),
            "kind": self._kind(place),
            "body": self.body(place),
        }


def numbered(names: list[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """The names that occur, in order of first appearance, and the number of each."""
    found = list(dict.fromkeys(names))
    number = {name: place for place, name in enumerate(found)}
    return found, np.array([number[name] for name in names], dtype=np.int64)


def message_of(rule_name: str, symbol: str, kind: str, reason: str) -> str:
    """What an alert says to people; `Withdrawn: Rule 'Up' matched for A (trade cancelled)`."""
    text = f"Rule '{rule_name}' matched for {symbol}"
    if kind not in FOLLOWS:
        return text
    return f"{kind.capitalize()}: {text}" + (f" ({reason})" if reason else "")


def metadata_of(values: str) -> Any:
    """The values of an alert; none where a function wrote what is no JSON."""
    try:
        return exact(json.loads(values))
    except ValueError:
        return {}


def exact(value: Any) -> Any:
    """A JSON value in which integers a browser cannot hold are texts."""
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [exact(one) for one in value]
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_integer and abs(value) > SAFE_INTEGER_MAX else value


def uuid_of(cause: str) -> str:
    """The id of what a cause, spelled out, makes be said."""
    return str(UUID(bytes=blake2b(cause.encode(), digest_size=16).digest()))


def rfc3339(ts_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC, nine digits."""
    return str(np.datetime64(ts_ns, "ns")) + "Z"
