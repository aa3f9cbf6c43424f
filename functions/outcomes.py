"""The outcome of every alert in PostgreSQL, as its bars come in; what they are stands in market/outcomes.py.

An alert opens its outcome. A bar whose minute is one of its horizons fills that in at once. When the
alert's day is over, everything is judged anew from the stored bars, once more an hour later: so neither
the order of arrival nor a late revision matters. An alert that was withdrawn has no outcome; one that was
amended has that of its new price.
"""

from datetime import timedelta

import numpy as np

from functions.market import outcomes as market
from functions.market.rows import times
from functions.market.sessions import SESSIONS, check_setup, market_of, moments, setup_of
from functions.users.matches import FOLLOWS
from runtime import Drop, function

BATCH = 16  # messages: a minute of every partition
SETTINGS = {"closures": "", "markets": ""}  # give them what scanner is given


def report_outcomes(bars, alerts, settings):
    """Of a backtest: the alerts that stand, with their outcomes."""
    alerts = standing(alerts)
    found = market.outcomes(bars, alerts, setup_of(settings["closures"], settings["markets"]))
    names = ("id", "rule_id", "rule_name", "symbol", "ts_ns", "price")
    told = {name: np.asarray(alerts[name]) for name in names}
    return told | {"session": session_names(alerts, settings)} | found


def session_names(alerts, settings):
    """The session of its market in which each alert was said."""
    setup = setup_of(settings["closures"], settings["markets"])
    pairs = zip(alerts["symbol"], alerts["ts_ns"], strict=True)
    codes = [moments(ts, setup)[market_of(symbol, setup)].session for symbol, ts in pairs]
    return [SESSIONS[code] for code in codes]


def report_rules(bars, alerts, settings):
    """Of a backtest: how the alerts of each rule went."""
    alerts = standing(alerts)
    found = market.outcomes(bars, alerts, setup_of(settings["closures"], settings["markets"]))
    return market.rule_statistics(alerts["rule_id"], alerts["symbol"], found)


def standing(alerts):
    """The alerts that fired, at their newest prices, without those that were withdrawn."""
    if "kind" not in alerts:
        return alerts
    ids, kinds = np.asarray(alerts["id"]), np.asarray(alerts["kind"])
    gone = set(ids[kinds == "withdrawn"].tolist())
    stays = np.array([one not in gone for one in ids.tolist()], dtype=bool)
    stays &= ~np.isin(kinds.astype(str), FOLLOWS)
    names = ("id", "rule_id", "rule_name", "symbol", "ts_ns", "price")
    found = {name: np.asarray(alerts[name])[stays] for name in names}
    amended = np.flatnonzero(kinds == "amended").tolist()
    newest = {ids[place]: float(alerts["price"][place]) for place in amended}
    prices = zip(found["id"].tolist(), found["price"].tolist(), strict=True)
    found["price"] = np.array([newest.get(one, price) for one, price in prices])
    return found


opens_outcomes = function(
    "opens_outcomes",
    settings=SETTINGS,
    checks=check_setup,
    batch=BATCH,
    reports={"outcomes": report_outcomes, "rule_outcomes": report_rules},
)
fills_outcomes = function("fills_outcomes", batch=BATCH)


@opens_outcomes.on("alerts.filtered")
async def open_outcomes(filtered, store, settings):
    kinds = np.array(list(filtered.get("kind", ["fired"] * len(filtered))), dtype=str)
    gone = filtered["id"][kinds == "withdrawn"].tolist()
    if gone:
        await store.fetch("SELECT withdraw_outcomes($1)", gone)
    fired = np.flatnonzero(~np.isin(kinds, FOLLOWS))
    setup = setup_of(settings["closures"], settings["markets"])
    bad = await open_new(filtered[fired], store, setup) if len(fired) else []
    amended = kinds == "amended"
    if amended.any():
        told = (filtered[name][amended].tolist() for name in ("id", "price", "ts_ns"))
        await store.fetch("SELECT amend_outcomes($1, $2, $3)", *told)
    if bad:
        raise Drop(f"outcomes: {bad[0].reason}", rows=[int(fired[one.place]) for one in bad])


async def open_new(filtered, store, setup):
    """Open the outcomes of alerts that fired; the rows the database refuses."""
    ts_ns, symbols = filtered["ts_ns"], filtered["symbol"]
    columns = {name: filtered[name].tolist() for name in ("rule_id", "rule_name", "ts_ns", "price")}
    columns |= {"alert_id": filtered["id"].tolist(), "symbol": symbols.tolist()}
    columns["timestamp"] = times(ts_ns)
    for minutes in market.HORIZONS_MIN:
        columns[f"minute_{minutes}m"] = times(market.horizon_minute(ts_ns, minutes))
    columns["begins"] = times(market.begins(ts_ns))
    columns["ends"] = times(market.ends(symbols, ts_ns, setup))
    bad = await store.upsert("outcomes", columns, ("alert_id",))
    await store.fetch("SELECT judge_outcomes($1)", columns["alert_id"])  # of bars that came first
    return bad


@fills_outcomes.on("bars.final")
async def fill_outcomes(bars, store):
    symbols, at = bars["symbol"].tolist(), times(bars["ts_ns"])
    await store.fetch("SELECT fill_outcomes($1, $2, $3)", symbols, at, bars["close"].tolist())
    await store.fetch("SELECT close_outcomes($1)", max(at) + timedelta(minutes=1))
