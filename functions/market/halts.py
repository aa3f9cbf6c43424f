"""Halts, price bands and the market-wide breaker: what the tapes' codes mean, and what is kept of them.

A status says by its `code` whether a symbol trades (0) or not (1); 2 says nothing about that and only
brings price bands. Where the feed passes on the tape's own `action`, that decides instead:

    tape   action                              means
    A, B   2 halt   3 resume                   halted   trading
    C      H halt   P volatility pause         halted   paused
           Q quotation resumption              quoting only: quotes are taken, nothing trades yet
           T trading resumption                trading
    any    another (imbalance, indication)     nothing about trading

    reason of a halt                           the halt is then
    LUDP LUDS M                                a pause (price bands, volatility)
    MWC0 MWC1 MWC2 MWC3, 1 2 3 on tapes A, B   market-wide; MWC0 is one carried over from the day before
    IPO1 D T1 T2 T3 T5 T8 T12 H4 H9 H10 H11    a halt, as is any other

The reason never makes a resumption a halt. A halt with a `resume_ns` ends at that time of *trading*, not
of quoting. A status that is older than the newest one known is ignored; one that is hours old is not:
who starts after the halt learns of it all the same, and state keeps it.

Sources: UTP specification (trading action, trading action reason), CTS specification (security status,
halt reason), Nasdaq Trader "Trade Halt Codes", Limit Up-Limit Down plan (limit state of 15 s, then a
pause of 5 min), NYSE rule 7.12 (breakers of levels 1 and 2 last 15 min, level 3 the rest of the day).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions, windows
from functions.market.running import Runs, fold, runs_of, shifted
from functions.market.tape import filled_forward

Array = NDArray[Any]

TRADING, HALTED, PAUSED, QUOTING, MARKET_WIDE = range(5)
MEANINGS = ("trading", "halted", "paused", "quoting only", "halted market-wide")
NO_CHANGE = 255
BANDS_ONLY = 2  # the code of a status without news of trading

ACTIONS = {"2": HALTED, "3": TRADING, "H": HALTED, "P": PAUSED, "Q": QUOTING, "T": TRADING}
BREAKER_LEVELS = {"MWC1": 1, "MWC2": 2, "MWC3": 3, "1": 1, "2": 2, "3": 3}
REASONS = {
    **dict.fromkeys(("LUDP", "LUDS", "M"), PAUSED),
    **dict.fromkeys(("MWC0", *BREAKER_LEVELS), MARKET_WIDE),
    **dict.fromkeys("IPO1 D T1 T2 T3 T5 T8 T12 H4 H9 H10 H11".split(), HALTED),
}
BREAKER_NS = 15 * sessions.MINUTE_NS
LIMIT_STATE_S = 15  # then the listing exchange declares a pause
CROSSINGS = ("seen", "other")  # the first print after a status is no cross

STATE = {
    "halted": "u1",  # one of MEANINGS
    "status_ns": "i8",  # time of the newest status
    "halted_ns": "i8",  # since when it does not trade; 0 while it does
    "resumed_ns": "i8",  # when it traded again after its last halt
    "resume_ns": "i8",  # when the halt ends; 0 = when a status says so
    "limit_up": "f8",  # price bands; 0 = none
    "limit_down": "f8",
    "bands_ns": "i8",  # when the bands were told: those of another day do not hold
    "limit_ns": "i8",  # since when every print was at a band or beyond; 0 = the last one was within
    "breaker": "text",  # level, start and end of the newest market-wide breaker
}


def meaning(code: int, action: str = "", reason: str = "") -> int:
    """What one status means, a place in MEANINGS; NO_CHANGE where it says nothing about trading."""
    if action:
        told = ACTIONS.get(action, NO_CHANGE)
    else:
        told = NO_CHANGE if code == BANDS_ONLY else HALTED if code else TRADING
    return REASONS.get(reason, HALTED) if told == HALTED else told


def meanings_of(status: Any) -> Array:
    """What each status of a frame means."""
    absent = np.full(len(status["row"]), "", dtype=object)
    actions, reasons = status.get("action", absent), status.get("reason", absent)
    columns = (status["code"].tolist(), actions.tolist(), reasons.tolist())
    return np.array([meaning(*one) for one in zip(*columns, strict=True)], dtype=np.uint8)


def add_status(state: Any, status: Any) -> None:
    """Keep what statuses say, in order of arrival; one older than the symbol's newest says nothing."""
    _keep_bands(state, status)
    told = meanings_of(status)
    news = status[told != NO_CHANGE]
    told = told[told != NO_CHANGE]
    fresh = _is_newest(state["status_ns"], news["row"], news["ts_ns"])
    if not fresh.any():
        return
    resume_ns = news.get("resume_ns", np.zeros(len(news), dtype=np.int64))[fresh]
    _keep_meanings(state, news["row"][fresh], news["ts_ns"][fresh], told[fresh], resume_ns)


def _is_newest(newest_ns: Array, row: Array, ts_ns: Array) -> Array:
    """Whether each event is at or after all events of its row before it; the newest time is kept."""
    runs = runs_of(row)
    ordered = ts_ns[runs.order]
    carry = newest_ns[runs.rows]
    after = fold(np.maximum, carry, runs, ordered)
    newest_ns[runs.rows] = after[runs.lasts]
    return runs.unsorted(ordered >= shifted(carry, runs, after))


def _keep_meanings(state: Any, row: Array, ts_ns: Array, told: Array, resume_ns: Array) -> None:
    runs = runs_of(row)
    rows, lasts = runs.rows, runs.lasts
    told, ts_ns, resume_ns = told[runs.order], ts_ns[runs.order], resume_ns[runs.order]
    before = shifted(state["halted"][rows], runs, told)
    stops = (told != TRADING) & (before == TRADING)
    starts = (told == TRADING) & (before != TRADING)
    trades = told == TRADING
    for name, is_set, value in (
        ("halted_ns", stops | trades, np.where(trades, 0, ts_ns)),
        ("resumed_ns", starts, ts_ns),
        ("resume_ns", stops | trades | (resume_ns > 0), np.where(trades, 0, resume_ns)),
    ):
        state[name][rows] = filled_forward(is_set, value, state[name][rows], runs)[lasts]
    state["halted"][rows] = told[lasts]
    for name in ("limit_ns", *CROSSINGS):
        state[name][rows] = 0


def _keep_bands(state: Any, status: Any) -> None:
    up, down = status.get("limit_up"), status.get("limit_down")
    if up is None or down is None:
        return
    place = np.flatnonzero(np.isfinite(up) & np.isfinite(down))
    row, ts_ns = status["row"][place], status["ts_ns"][place]
    fresh = _is_newest(state["bands_ns"], row, ts_ns)
    # Where a row comes twice the later one is written last.
    state["limit_up"][row[fresh]] = up[place[fresh]]
    state["limit_down"][row[fresh]] = down[place[fresh]]


# -- halts


def is_trading(state: Any, row: Any, ts_ns: Array) -> Array:
    """Whether each event's symbol trades at its time: no halt, or one whose time is over."""
    trades = state.read("halted")[row] == TRADING
    if trades.all():
        return np.asarray(trades)
    resume_ns = state.read("resume_ns")[row]
    return np.asarray(trades | ((resume_ns > 0) & (ts_ns >= resume_ns)))


def resume_due(state: Any, clock_ns: int) -> None:
    """Event time reached the end of halts that have one: those symbols trade again."""
    resume_ns = state.read("resume_ns")
    due = np.flatnonzero((resume_ns > 0) & (resume_ns <= clock_ns))
    if len(due):
        state["resumed_ns"][due] = resume_ns[due]
        for name in ("halted", "halted_ns", "resume_ns", *CROSSINGS):
            state[name][due] = 0


def is_fresh(state: Any, clock_ns: int, stale_ns: int) -> Array:
    """The rows that traded within `stale_ns`, today's time in a halt not counted.

    A symbol that was halted on an earlier day and did not trade since is stale.
    """
    since_ns = clock_ns - stale_ns
    where = sessions.moments(clock_ns, state["setup"])
    last_ns, is_halted = state.read("last_ns"), state.read("halted") != TRADING
    is_fresh = np.maximum(last_ns, state.read("resumed_ns")) > since_ns
    if is_halted.any():
        midnight_ns = np.array([one.midnight_ns for one in where])
        is_fresh |= is_halted & (last_ns >= midnight_ns[state.read("market") - 1])
    return np.asarray((state.read("last") > 0) & is_fresh)


def suspended(state: Any, row: Any, minute: Array) -> Array:
    """The minute that windows end with: in a halt the one it began in, so that they stand still."""
    halted_ns = state.read("halted_ns")[row]
    if not halted_ns.any():
        return minute
    began = np.maximum(halted_ns - 1, 0) // sessions.MINUTE_NS
    stands = (halted_ns > 0) & (began < minute)
    return np.where(stands, np.maximum(state.read("minute")[row], began), minute)


def window_ns(state: Any, events: Any) -> Array:
    """The time that windows end with at each event: in a halt its beginning, however long it lasts.

    Where something was printed in the halt it is the end of that minute.
    """
    if not events.is_clock:
        return np.asarray(events.ts_ns)
    began_ns = events.of(state, "halted_ns")
    if not began_ns.any():
        return np.asarray(events.ts_ns)
    is_printed = events.minute > (began_ns - 1) // sessions.MINUTE_NS
    printed_ns = np.where(is_printed, (events.minute + 1) * sessions.MINUTE_NS, 0)
    stands_ns = np.minimum(events.ts_ns, np.maximum(began_ns, printed_ns))
    return np.where(began_ns > 0, stands_ns, events.ts_ns)


def keep_windows(state: Any) -> None:
    """Have the windows of halted symbols ready before the minutes they are made of are forgotten."""
    row = np.flatnonzero((state.read("halted_ns") > 0) & (state.read("clean_to") > 0))
    if len(row):
        windows.refresh(state, row, suspended(state, row, state["clean_to"][row]))


# -- price bands


def watch_limits(state: Any, runs: Runs, events: Any) -> None:
    """Since when the prints of each symbol are at a band or beyond, at every print."""
    up = state["limit_up"][runs.rows]
    if not up.any():
        return
    down = state["limit_down"][runs.rows]
    price, ts_ns = events.price[runs.order], events.ts_ns[runs.order]
    known = (up > 0)[runs.of]
    at = known & ((price >= up[runs.of]) | (price <= down[runs.of]))
    carry = state["limit_ns"][runs.rows]
    before = shifted(carry > 0, runs, at)
    since = filled_forward(~at | ~before, np.where(at, ts_ns, 0), carry, runs)
    state["limit_ns"][runs.rows] = since[runs.lasts]
    events.memo["limit_ns"] = runs.unsorted(since)


def bands(state: Any, events: Any) -> tuple[Array, Array]:
    """(limit up, limit down) at each event; NaN before the day's first band and outside regular hours."""
    market = events.of(state, "market") - 1
    opened = np.array([one.open_ns for one in events.where])[market]
    told = events.of(state, "bands_ns")
    holds = (told >= opened - sessions.MINUTE_NS) & (np.asarray(events.session) == sessions.MARKET)
    up, down = events.of(state, "limit_up"), events.of(state, "limit_down")
    holds &= up > 0
    return np.where(holds, up, np.nan), np.where(holds, down, np.nan)


def limit_state_s(state: Any, events: Any) -> Array:
    """Seconds for which a symbol's prints have stood at a band; 0 within the bands, NaN without any."""
    up, _ = bands(state, events)
    since = events.memo.get("limit_ns")
    since = events.of(state, "limit_ns") if since is None else since
    lasted = np.where(since > 0, (events.ts_ns - since) / sessions.SECOND_NS, 0.0)
    return np.where(np.isfinite(up), np.maximum(lasted, 0.0), np.nan)


# -- the market-wide breaker


def breaker_of(status: Any) -> tuple[int, int]:
    """(level, time) of the highest market-wide breaker among statuses, the first of that level; (0, 0) if none."""
    reasons = status.get("reason")
    found = [
        (-BREAKER_LEVELS[reason], int(ts_ns))
        for reason, ts_ns, told in zip(
            [] if reasons is None else reasons.tolist(),
            status["ts_ns"].tolist(),
            meanings_of(status).tolist(),
            strict=False,
        )
        if reason in BREAKER_LEVELS and told == MARKET_WIDE
    ]
    if not found:
        return 0, 0
    level, ts_ns = min(found)
    return -level, ts_ns


def add_breaker(state: Any, level: int, ts_ns: int) -> bool:
    """Keep a breaker; whether it is news: a higher level than the one known of that day."""
    moment = sessions.moments(ts_ns, state["setup"])[sessions.US]
    known, start_ns, _ = (int(one) for one in (state["breaker"] or "0 0 0").split())
    same_day = (
        start_ns and sessions.moments(start_ns, state["setup"])[sessions.US].day >= moment.day
    )
    if same_day and level <= known:
        return False
    end_ns = moment.end_ns if level == 3 else ts_ns + BREAKER_NS
    state["breaker"] = f"{level} {ts_ns} {end_ns}"
    return True


def is_open(state: Any, row: Any, ts_ns: Array) -> Array:
    """Whether no market-wide breaker holds at each event; those of other markets are not concerned."""
    if not state["breaker"]:
        return np.ones(len(ts_ns), dtype=bool)
    _, start_ns, end_ns = (int(one) for one in state["breaker"].split())
    is_us = state.read("market")[row] == 1 + sessions.US
    return ~(is_us & (ts_ns >= start_ns) & (ts_ns < end_ns))
