"""Rules on every print, toplists every second.

A rule fires when it turns true: at the first print at which its condition holds and did not hold, or
was not known, at the symbol's print before. Then it is silent for its cooldown, in event time; what
is suppressed does not prolong it. Prints that came late, may not update the last price, or belong to
a halted or gapped symbol fire nothing. Rules with `held`, `changed`, candles or lists are asked at
clock events as well. An alert whose print is cancelled or corrected is withdrawn or amended.
"""

import json
from hashlib import blake2b
from uuid import UUID

import numpy as np

from functions.market import (
    closed,
    corrections,
    gaps,
    halts,
    metrics,
    missing,
    partials,
    reference,
    repairs,
    sessions,
    tape,
)
from functions.market.clocks import in_time
from functions.market.listings import check_toplists, listed_toplists, usable_toplists
from functions.market.outliers import forget
from functions.market.state import STATE
from functions.market.trading_days import listed_days
from functions.rules import (
    answer_rules,
    asked,
    check_rules,
    compile_rules,
    faults_by_rule,
    firing,
    kept,
    why,
    withdrawals,
)
from runtime import function

STALE_NS = 300_000_000_000  # a symbol without a print for five minutes leaves the toplists
CHOICES = {"hours": ("always", "us"), "outliers": ("take", "hold"), "toplists": ("rank", "none")}
REFRESH_S = 60  # quiet markets rank this often, so that stale symbols leave
SECOND_NS = 1_000_000_000
ENTERS = 1  # kind of `toplists.changes`
as_json = json.JSONEncoder(separators=(",", ":")).encode  # made once: an alert has three


def check_control(body):
    """A control body, its rules and its toplists checked; raises ValueError."""
    return check_toplists(check_rules(body))


def check_settings(settings):
    """Refuse settings that mean nothing; raises ValueError saying what is expected."""
    sessions.check_setup(settings)
    for name, words in CHOICES.items():
        if settings[name] not in words:
            raise ValueError(f"{name}: expected {' or '.join(words)}, found {settings[name]!r}")


scanner = function(
    "scanner",
    writes=["alerts", "toplists.partial", "metrics.values", "why.values"],
    state={
        **STATE,
        "same_ns": "i8",  # newest time of a print, and how many came since it was reached:
        "same": "i4",  # with the symbol they name the causing event
        **halts.STATE,
        **gaps.STATE,
        **kept.STATE,  # of rules
        **withdrawals.STATE,  # alerts whose print may yet be corrected
        "rules": "text",
        "rules_version": "text",
        "ranked": "text",  # "no" = prints came since the last ranking
        **partials.STATE,
        "in.*": "u1",  # per toplist: 1 = the symbol is in it
    },
    # us: a rule with calculated_during `all` is silent while the market is closed (20:00-04:00 in
    # New York, weekends); always: it fires at any time, which suits symbols that trade around the clock.
    # watch: metrics kept ready although no rule names them, separated by blanks; * = all of them.
    # closures, markets: dates without trading and further exchanges, see functions/market/sessions.py
    # breaker_symbol: the partition of this symbol raises the one alert of a market-wide breaker
    # toplists: rank, or none where nobody reads them.
    # outliers: take, or hold a print far from the market until another confirms it or a second passed.
    settings={
        "hours": "always",
        "watch": "",
        "outliers": "take",
        "closures": "",
        "markets": "",
        "breaker_symbol": "SPY",
        "toplists": "rank",
    },
    version=3,
    carry="clean",
    merges={
        **withdrawals.MERGES,
        **partials.MERGES,
        "arriving": repairs.none_waiting,
        "ranked": lambda _: "no",
    },
    accepts={
        "control": check_control,
        "ask.rules": answer_rules,
        "ask.faults": faults_by_rule,
        "ask.metrics": metrics.listed,
        "ask.toplists": listed_toplists,
        "ask.days": listed_days,
    },
    checks=check_settings,
    by_minute=lambda settings: settings["outliers"] == "take",
)


@scanner.on("control")
def change_rules(control, state):
    for version, body in zip(control["version"].tolist(), control["body"], strict=True):
        if version <= int(state["rules_version"] or 0):
            continue
        kept.forget(state, (rule.version for rule in compile_rules(body).rules))
        state["rules"], state["rules_version"] = body, str(version)
        state["ranked"] = "no"


def know_calendars(state, settings):
    """Take over the calendars of the settings; where they changed, markets are looked up anew."""
    setup = sessions.setup_of(settings["closures"], settings["markets"])
    if state["setup"] != setup:
        state["setup"] = setup
        state["market"][:] = 0  # of all rows: it follows from symbol and setup, undone or not


@scanner.on("ticks.status")
def halt(status, state, settings):
    know_calendars(state, settings)
    tape.know_markets(state, status["row"])
    halts.add_status(state, status)
    forget(state, status["row"])
    level, ts_ns = halts.breaker_of(status)
    if not level or not halts.add_breaker(state, level, ts_ns):
        return None
    return {"alerts": breaker_alert(state, settings["breaker_symbol"], level, ts_ns)}


def breaker_alert(state, symbol, level, ts_ns):
    """The one alert of a breaker, where the symbol that stands for the market is; None elsewhere."""
    row = state.row_of(symbol)
    price = 0.0 if row is None else float(state["last"][row] or state["prev_close"][row])
    if not price:
        return None
    day = sessions.moments(ts_ns, state["setup"])[sessions.US].day
    name = f"Market-wide breaker, level {level}"
    return as_columns(
        [
            {
                "row": row,
                "ts_ns": ts_ns,
                "price": price,
                "id": uuid_of(f"market_wide_breaker|{day}|{level}"),
                "rule_id": "market_wide_breaker",
                "rule_name": name,
                "values": json.dumps({"metrics": {"level": level}}, separators=(",", ":")),
                "kind": "fired",
                "strength": 0.0,
                "explain": json.dumps({"leaves": []}, separators=(",", ":")),
                "causes": json.dumps({"stream": "MARKET"}, separators=(",", ":")),
                "reason": "",
            }
        ]
    )


@scanner.on("ticks.gaps")
def lose(lost, state, settings):
    """Events of symbols are missing, or have been sent since."""
    know_calendars(state, settings)
    tape.know_markets(state, lost["row"])
    gaps.add(state, lost)


@scanner.on("ticks.daily")
def add_days(days, state, settings, clock):
    know_calendars(state, settings)
    tape.know_markets(state, days["row"])
    closed.end_past(state, np.unique(days["row"]), clock)
    reference.add_days(state, days)


@scanner.on("ticks.reference")
def add_facts(facts, state, settings):
    know_calendars(state, settings)
    tape.know_markets(state, facts["row"])
    reference.add_facts(state, facts)


@scanner.on("ticks.minutes")
def add_minutes(minutes, state, settings):
    """Minutes of the past, from files."""
    know_calendars(state, settings)
    closed.add_minutes(state, minutes)


@scanner.on("bars.final")
def add_bars(bars, state, settings):
    know_calendars(state, settings)
    closed.add_bars(state, bars)


@scanner.on("bars.corrected")
def correct(corrected, state, settings, clock):
    """Values follow corrections, and alerts whose print was wrong; nothing fires."""
    know_calendars(state, settings)
    state["ranked"] = "no"
    corrections.apply(state, corrected)
    alerts = withdrawals.follow(state, corrected, clock, compile_rules(state["rules"]))
    return {"alerts": as_columns(alerts)} if alerts else None


@scanner.on("indicators")
def add_indicators(indicators, state):
    tape.add_indicators(state, indicators)


@scanner.on("ask.metrics")
def answer(asked, state, settings):
    """The values of metrics as of the newest clock event, for whoever asked."""
    know_calendars(state, settings)
    clock, names = int(asked["ts_ns"][-1]), asked["names"][-1].split()
    events = metrics.at_clock(state, clock)
    values = metrics.compute({metrics.ALIASES.get(name, name) for name in names}, state, events)
    rows, told, found = [], [], []
    for name in names:
        value = values[metrics.ALIASES.get(name, name)]
        row = np.flatnonzero(np.isfinite(value))
        rows.append(row)
        told += [name] * len(row)
        found.append(value[row])
    if not told:
        return None
    row = np.concatenate(rows)
    when = np.full(len(row), clock)
    return {
        "metrics.values": {"row": row, "ts_ns": when, "name": told, "value": np.concatenate(found)}
    }


@scanner.on("ask.why")
def answer_why(questions, state, settings, clock):
    """Why rules do not fire for symbols, or what metrics are, for whoever asked; nothing that is kept changes."""
    rules, is_always = compile_rules(state["rules"]), settings["hours"] == "always"
    uses = rules.metrics | watched(settings["watch"])
    wanted = list(questions.get("names", [""] * len(questions)))
    columns = (questions[name].tolist() for name in ("ts_ns", "rule", "about"))
    told = [
        missing.values_of(state, symbol, names.split(), at_ns or clock, uses)
        if names
        else why.answer(rules, state, rule, symbol, at_ns or clock, is_always, STALE_NS)
        for at_ns, rule, symbol, names in zip(*columns, wanted, strict=True)
    ]
    bodies = [json.dumps(one, separators=(",", ":")) for one in told]
    return {"why.values": {"id": questions["id"].tolist(), "body": bodies}}


@scanner.on("ticks.quotes")
def quote(quotes, state, settings, clock):
    know_calendars(state, settings)
    quotes = in_time(quotes, clock)
    for rows in tape.parts_of(quotes["ts_ns"]):
        tape.add_quotes(state, quotes[rows])


@scanner.on("ticks.trades")
def scan(trades, state, settings, clock):
    know_calendars(state, settings)
    trades = in_time(trades, clock)
    state["ranked"] = "no"
    trades = corrections.as_arrived(state, trades)
    if not len(trades):
        return None
    rules = compile_rules(state["rules"])
    uses = rules.metrics | watched(settings["watch"])
    alerts = []
    for rows in tape.parts_of(trades["ts_ns"]):
        prints = tape.add_prints(state, trades[rows], uses, settings["outliers"] == "hold")
        metrics.watch(state, prints, uses)
        halts.watch_limits(state, prints.runs, prints.events)
        names = tape.ordinals(state, prints.runs, prints.ts_ns)
        if rules.rules and len(prints.ts_ns):
            alerts += fire(state, rules, prints, names, settings["hours"] == "always")
    return {"alerts": as_columns(alerts)} if alerts else None


def watched(names):
    """The metrics kept ready for no rule."""
    return metrics.WATCHED if names == "*" else frozenset(names.split())


def fire(state, rules, prints, names, is_always):
    """The alerts of some prints, ordered by print, then by rule."""
    order = prints.runs.order
    said = [
        (int(order[one.place]), one)
        for one in firing.fire(rules, asked.at_prints(state, prints, is_always), state)
    ]
    said.sort(key=lambda pair: (pair[0], pair[1].entry.rule.id))
    newest_ns, number = names
    alerts = [
        alert_of(
            state,
            one,
            float(prints.events.price[event]),
            f"{newest_ns[event]}|{number[event]}",
            prints.cause_of(event),
        )
        for event, one in said
    ]
    withdrawals.keep(
        state,
        [
            withdrawals.Caused(
                state.symbols[one.row],
                *prints.name_of(event),
                one.entry.rule.version,
                {name: told for name, told in alert.items() if name != "row"},
            )
            for (event, one), alert in zip(said, alerts, strict=True)
        ],
    )
    return alerts


def fire_at(clock, state, rules, is_always, events):
    """The alerts of a clock event, ordered by rule, then by symbol's row."""
    moments = asked.at_clock(state, clock, is_always, STALE_NS, events=events)
    return [
        alert_of(state, one, float(state["last"][one.row]), f"clock|{clock}", {"clock_ns": clock})
        for one in firing.fire(rules, moments, state)
    ]


def alert_of(state, fired, price, moment, cause):
    """The alert of a rule that fired; with its version and the symbol, `moment` names it."""
    rule = fired.entry.rule
    symbol = state.symbols[fired.row]
    values = {name: value for name, value in fired.values.items() if value is not None}
    return {
        "row": fired.row,
        "ts_ns": fired.ts_ns,
        "price": price,
        "id": uuid_of(f"{rule.version}|{symbol}|{moment}"),
        "rule_id": rule.id,
        "rule_name": rule.name,
        "values": as_json({"metrics": values}),
        "kind": "fired",
        "strength": fired.strength,
        "explain": as_json({"leaves": fired.leaves}),
        "causes": as_json({"stream": "MARKET", **cause}),
        "reason": "",
    }


def uuid_of(cause):
    """The id of what a cause, spelled out, makes be said."""
    return str(UUID(bytes=blake2b(cause.encode(), digest_size=16).digest()))


def as_columns(alerts):
    """Alerts as columns."""
    return {name: [alert[name] for alert in alerts] for name in alerts[0]}


@scanner.on("ticks.clock")
def move_on(clock, state, settings):
    know_calendars(state, settings)
    halts.keep_windows(state)
    tape.tick(state, clock)
    halts.resume_due(state, clock)
    rules = compile_rules(state["rules"])
    events, alerts = None, []
    if rules.timed and state.rows:
        events = metrics.at_clock(state, clock)  # toplists ask for the same metrics
        alerts = fire_at(clock, state, rules, settings["hours"] == "always", events)
    said = (rank(clock, state, events) if settings["toplists"] == "rank" else None) or {}
    return said | {"alerts": as_columns(alerts)} if alerts else said or None


def rank(clock, state, events=None):
    """The best of every toplist, once a second while something trades; `events`: of all symbols."""
    if state["ranked"] == "yes" and clock // SECOND_NS % REFRESH_S:
        return None
    state["ranked"] = "yes"
    if not state.rows:
        return None
    plan = partials.plan_of(usable_toplists(state["rules"]))
    know_lists(state, plan)
    row = np.flatnonzero(halts.is_fresh(state, clock, STALE_NS))
    if events is None or len(row) < state.rows:
        events = metrics.at_clock(state, clock, row)
    values = metrics.compute(plan.metrics, state, events)
    best = partials.best_of(state, plan, values, row)
    if best is None:
        return None
    size = len(best["row"])
    best["ts_ns"], best["price"] = np.full(size, clock), state["last"][best["row"]]
    best["configured"] = np.full(size, int(state["rules_version"] or 0))
    return {"toplists.partial": best}


def know_lists(state, plan):
    """Who of a list ranked before is not said to be in it is out; a list that is no more is forgotten.

    A list's first ranking comes before its second second: who is in it then was not seen to enter.
    """
    ids = set(plan.ids)
    if state["sent_lists"] != plan.joined:
        for name in state.family("in"):
            if name not in ids:
                del state[f"in.{name}"]
    for name in state["sent_lists"].split():
        if name in ids and f"in.{name}" not in state:
            state[f"in.{name}"][:] = 0


@scanner.on("toplists.changes")
def change_members(changes, state):
    for name in dict.fromkeys(changes["list"].tolist()):
        here = changes["list"] == name
        state[f"in.{name}"][changes["row"][here]] = changes["kind"][here] == ENTERS
