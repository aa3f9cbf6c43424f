"""Every alert once, numbered: what clients resume by; so are amendments and withdrawals.

A function that writes alerts of its own need not name a rule or an id: the function's name and the
event stand in for them.
"""

from hashlib import blake2b
from uuid import UUID

import numpy as np

from runtime import function


@function(reads="alerts", writes="alerts.filtered", state={"count": "text"})
def alerts(alerts, state):
    count = int(state["count"] or 0)
    size = len(alerts)
    state["count"] = str(count + size)
    symbols, source = alerts["symbol"], alerts.source
    absent = [source] * size
    return {
        "symbol": symbols,
        "ts_ns": alerts["ts_ns"],
        "price": alerts["price"],
        "id": alerts.get("id", derived_ids(source, symbols, alerts["ts_ns"], alerts["price"])),
        "rule_id": alerts.get("rule_id", absent),
        "rule_name": alerts.get("rule_name", absent),
        "values": alerts.get("values", ["{}"] * size),
        "kind": alerts.get("kind", ["fired"] * size),
        "strength": alerts.get("strength", np.zeros(size)),
        "explain": alerts.get("explain", ["{}"] * size),
        "causes": alerts.get("causes", ["{}"] * size),
        "reason": alerts.get("reason", [""] * size),
        "number": np.arange(count + 1, count + size + 1),
    }


def derived_ids(source, symbols, ts_ns, price):
    """Ids from the writing function, the symbol, the time and the price."""
    causes = [f"{source}|{s}|{t}|{p}" for s, t, p in zip(symbols, ts_ns, price, strict=True)]
    return [str(UUID(bytes=blake2b(one.encode(), digest_size=16).digest())) for one in causes]
