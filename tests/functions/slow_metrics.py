"""The slow, obvious twin of every metric: plain loops over what happened to one symbol.

What happened at a print stays: crossings, breaks, rejections, bounces, returns and the prices of the
last minute are of the prints as they came. All else is of the prints that are left.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from functools import cache
from itertools import accumulate, pairwise
from math import isfinite, sqrt
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = date(1970, 1, 1)
VOLUME, LAST, HIGH_LOW = 1, 2, 4
LATE_MINUTES = 3
CARRIED_MINUTES = 240
KEPT_MINUTES = 256
LOOKBACK = 20
CRYPTO = ("*.SPOT", "*.USDM", "*-USD", "*USDT")

HOLIDAYS = {
    2025: "01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25",
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
}
EARLY_CLOSES = {2025: "07-03 11-28 12-24", 2026: "11-27 12-24"}

MINUTES = {"1m": 1, "2m": 2, "5m": 5, "10m": 10, "15m": 15, "30m": 30, "60m": 60}
MINUTES |= {"2h": 120, "4h": 240, "1h": 60}
SHORT = ("1m", "2m", "5m", "15m")
LONG = (*SHORT, "30m", "60m")
DAYS = {"1d": 1, "2d": 2, "5d": 5, "10d": 10, "20d": 20, "3m": 63, "6m": 126, "1y": 252}
LEVELS = (
    "ema20_2m ema9_5m ema9_15m ema21_15m ema9_60m ema21_60m "
    "ema9_daily ema21_daily ema50_daily sma200_daily"
)
DISTANCES = (
    "sma20_daily sma10_daily sma200_daily ema20_1m ema9_1m ema9_5m ema9_15m ema21_15m "
    "ema9_60m ema21_60m ema50_15m ema50_daily"
)
RETURNS = "ema9_1m ema20_1m ema200_1m ema9_5m ema20_5m ema9_15m ema21_15m"
FACTS = (
    "institutional_ownership_pct marketcap shares_outstanding short_interest_pct short_ratio float"
)
Values = dict[str, float | None]


@dataclass(frozen=True)
class Print:
    symbol: str
    ts_ns: int
    price: float
    size: float
    upd: int = 7


@dataclass(frozen=True)
class Cancel:
    """A print cancelled, or put right, at a time that may be before its own."""

    at_ns: int
    wrong: Print
    right: Print | None

    @property
    def symbol(self) -> str:
        return self.wrong.symbol


@dataclass(frozen=True)
class Status:
    """Whether a symbol trades, or its price bands, as told at a time that may be after its own."""

    symbol: str
    at_ns: int
    ts_ns: int
    trades: bool | None  # None: no news of that
    resume_ns: int = 0
    bands: tuple[float, float] | None = None  # (up, down)


Event = Print | Cancel | Status


@dataclass(frozen=True)
class Day:
    symbol: str
    day: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Seen:
    index: int
    ts: int
    minute: int
    price: float
    size: float
    upd: int
    in_time: bool
    in_bar: bool
    session: str
    day: int
    clock: int  # event time had reached this whole second, of the whole market
    is_today: bool  # its trading day was not over when it came
    order: int = 0  # among the events of the market

    @property
    def is_behind(self) -> bool:
        return self.minute < self.clock // MINUTE


@dataclass(frozen=True)
class Candle:
    start: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    dollars: float


@dataclass(frozen=True)
class Change:
    """What a correction made of a print: `now` is what counts of it, None if nothing does."""

    order: int
    clock: int
    index: int
    now: Seen | None


@dataclass(frozen=True)
class Heard:
    order: int
    clock: int
    status: Status


@dataclass
class Halts:
    """What the statuses so far say, one after the other."""

    since: int = 0  # when it stopped trading; 0 = it trades
    resumes: int = 0
    newest: int = 0
    bands: tuple[float, float] | None = None
    bands_told: int = 0


@dataclass
class Tape:
    crypto: bool
    at: int
    prints: list[Seen]  # as they count now
    came: list[Seen]  # as they came
    changes: list[Change]
    statuses: list[Heard]
    reached: list[int]  # the clock at each event of the market
    halts: Halts
    breaks: list[int]  # orders of events at which a status, or the end of a halt, was known
    days: list[Day]
    facts: dict[str, float]
    session: str
    today: int
    minute_now: int
    cache: dict = field(default_factory=dict)


def listed(table: dict[int, str], day: date) -> bool:
    return day.strftime("%m-%d") in table.get(day.year, "").split()


def date_of(day: int) -> date:
    return EPOCH + timedelta(days=day)


@cache
def is_trading_day(day: int, crypto: bool) -> bool:
    when = date_of(day)
    return crypto or (when.weekday() < 5 and not listed(HOLIDAYS, when))


def is_half_day(day: int, crypto: bool) -> bool:
    return not crypto and listed(EARLY_CLOSES, date_of(day))


def previous_trading_day(day: int, crypto: bool) -> int:
    day -= 1
    while not is_trading_day(day, crypto):
        day -= 1
    return day


def next_trading_day(day: int, crypto: bool) -> int:
    day += 1
    while not is_trading_day(day, crypto):
        day += 1
    return day


def clock_ns(day: int, hour: int, minute: int = 0) -> int:
    moment = datetime.combine(date_of(day), time(hour, minute), NEW_YORK)
    return int(moment.timestamp()) * SECOND


@cache
def hours_of(day: int, crypto: bool) -> tuple[int, int, int, int]:
    if crypto:
        return day * DAY, day * DAY, (day + 1) * DAY, (day + 1) * DAY
    close = 13 if is_half_day(day, crypto) else 16
    return clock_ns(day, 4), clock_ns(day, 9, 30), clock_ns(day, close), clock_ns(day, close + 4)


@cache
def calendar_day(minute: int, crypto: bool) -> int:
    zone = UTC if crypto else NEW_YORK
    return (datetime.fromtimestamp(minute * 60, zone).date() - EPOCH).days


@cache
def place(minute: int, crypto: bool) -> tuple[str, int]:
    day, ts = calendar_day(minute, crypto), minute * MINUTE
    if not is_trading_day(day, crypto):
        return "closed", next_trading_day(day, crypto)
    start, opened, closed, end = hours_of(day, crypto)
    if ts < start:
        return "closed", day
    if ts >= end:
        return "closed", next_trading_day(day, crypto)
    if ts < opened:
        return "premarket", day
    return ("market" if ts < closed else "postmarket"), day


@cache
def bucket(minute: int, tf: int, crypto: bool) -> tuple[int, int]:
    day = calendar_day(minute, crypto)
    midnight = day * 1440 if crypto else clock_ns(day, 0) // MINUTE
    tomorrow = midnight + 1440 if crypto else clock_ns(day + 1, 0) // MINUTE
    start = midnight + (minute - midnight) // tf * tf
    return start, min(start + tf, tomorrow)


def seen_prints(prints: list[tuple[int, int, Print]], crypto: bool) -> list[Seen]:
    seen, newest = [], None
    for index, (order, clock, p) in enumerate(prints):
        minute = p.ts_ns // MINUTE
        newest = minute if newest is None else max(newest, minute)
        behind = newest - minute
        spot = (behind == 0, behind <= LATE_MINUTES, *place(minute, crypto))
        is_today = place(clock // MINUTE, crypto)[1] <= spot[3]
        what = (p.ts_ns, minute, p.price, p.size, p.upd)
        seen.append(Seen(index, *what, *spot, clock, is_today, order))
    return seen


def corrected(seen: Seen, right: Print | None) -> Seen | None:
    return right and replace(seen, price=right.price, size=right.size, upd=right.upd)


def prints_and_changes(
    events: list[tuple[int, int, Event]], crypto: bool
) -> tuple[list[Seen], list[Change]]:
    """Prints as they came, and what corrections made of them; one that waits is of the print that comes."""
    waiting: list[Cancel] = []
    came: list[tuple[int, int, Print]] = []
    told: list[tuple[int, int, int, Print | None]] = []
    counts: list[Print | None] = []
    for order, clock, event in events:
        if isinstance(event, Print):
            held = next((one for one in waiting if one.wrong == event), None)
            if held:
                waiting.remove(held)
            now = held.right if held else event
            if now:
                came.append((order, clock, now))
                counts.append(now)
        elif isinstance(event, Cancel):
            if event.wrong not in counts:
                waiting.append(event)
                continue
            index = max(k for k, one in enumerate(counts) if one == event.wrong)
            counts[index] = event.right
            told.append((order, clock, index, event.right))
    seen = seen_prints(came, crypto)
    changes = [Change(*told, corrected(seen[told[2]], right)) for *told, right in told]
    return seen, changes


def halts_of(heard: list[Heard], reached: list[int], at: int) -> tuple[Halts, list[int]]:
    """What statuses said by now; a halt with an end is over at the first clock event at or after it."""
    now, breaks = Halts(), []
    for one in [*heard, None]:
        clock = one.clock if one else at
        if now.since and 0 < now.resumes <= clock:
            breaks.append(bisect_left(reached, now.resumes))
            now.since = now.resumes = 0
        if one is None:
            continue
        status = one.status
        if status.bands and status.ts_ns >= now.bands_told:
            now.bands, now.bands_told = status.bands, status.ts_ns
        if status.trades is None or status.ts_ns < now.newest:
            continue
        now.newest = status.ts_ns
        breaks.append(one.order)
        if status.trades:
            now.since = now.resumes = 0
        elif now.since:
            now.resumes = status.resume_ns or now.resumes
        else:
            now.since, now.resumes = status.ts_ns, status.resume_ns
    return now, breaks


def tape_of(
    symbol: str,
    events: list[tuple[int, int, Event]],
    reached: list[int],
    days: list[Day],
    at: int,
    facts: dict,
) -> Tape:
    crypto = any(fnmatchcase(symbol, pattern) for pattern in CRYPTO)
    came, changes = prints_and_changes(events, crypto)
    heard = [Heard(order, clock, one) for order, clock, one in events if isinstance(one, Status)]
    halts, breaks = halts_of(heard, reached, at)
    session, today = place(at // MINUTE, crypto)
    newest = max((p.minute for p in came), default=0)
    minute_now = max(newest, (at - 1) // MINUTE)
    if halts.since:  # windows end where trading did, or with what was printed after it
        minute_now = min(minute_now, max(newest, (halts.since - 1) // MINUTE))
    ordered = sorted(days, key=lambda d: d.day)
    left = applied(came, changes)
    told = (changes, heard, reached, halts, breaks)
    return Tape(crypto, at, left, came, *told, ordered, facts, session, today, minute_now)


def applied(came: list[Seen], changes: list[Change]) -> list[Seen]:
    """Prints as changes left them."""
    now: dict[int, Seen | None] = {change.index: change.now for change in changes}
    return [one for p in came if (one := now.get(p.index, p)) is not None]


def as_of(tape: Tape, p: Seen) -> Tape:
    """The tape as a print met it, the print included."""
    prints = applied(tape.came[: p.index + 1], [c for c in tape.changes if c.order < p.order])
    return replace(tape, prints=prints, today=p.day, session=p.session, cache={})


def are_ticks(prints: list[Seen]) -> list[Seen]:
    return [p for p in prints if p.in_time and p.is_today and p.upd & LAST]


def ticks(tape: Tape) -> list[Seen]:
    if "ticks" not in tape.cache:
        tape.cache["ticks"] = are_ticks(tape.prints)
    return tape.cache["ticks"]


def ticks_as_they_came(tape: Tape) -> list[Seen]:
    if "ticks came" not in tape.cache:
        tape.cache["ticks came"] = are_ticks(tape.came)
    return tape.cache["ticks came"]


def last_tick(tape: Tape) -> Seen | None:
    """The newest print that may be the last price, whatever became of it."""
    return ticks_as_they_came(tape)[-1] if ticks_as_they_came(tape) else None


def last_price(tape: Tape) -> float | None:
    return ticks(tape)[-1].price if ticks(tape) else None


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def divide(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None or b == 0 else a / b


def percent(a: float | None, b: float | None) -> float | None:
    share = divide(a, b)
    return None if share is None else 100 * share


def difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def change_pct(a: float | None, b: float | None) -> float | None:
    return percent(difference(a, b), b)


def both(name: str, a: float | None, b: float | None) -> Values:
    return {name: difference(a, b), f"{name}_pct": change_pct(a, b)}


def flag(yes: bool) -> float:
    return 1.0 if yes else 0.0


def minute_bar(minute: int, prints: list[Seen]) -> Candle | None:
    prices = [p.price for p in prints if p.upd & LAST]
    if not prices:
        return None
    extremes = [p.price for p in prints if p.upd & HIGH_LOW] or [prices[0], prices[-1]]
    counted = [p for p in prints if p.upd & VOLUME]
    volume, dollars = sum(p.size for p in counted), sum(p.price * p.size for p in counted)
    edges = (prices[0], max(extremes), min(extremes), prices[-1])
    return Candle(minute, minute + 1, *edges, volume, dollars)


def minute_bars(prints: list[Seen]) -> list[Candle]:
    minutes: dict[int, list[Seen]] = {}
    for p in prints:
        if p.in_bar:
            minutes.setdefault(p.minute, []).append(p)
    bars = [minute_bar(minute, minutes[minute]) for minute in sorted(minutes)]
    return [bar for bar in bars if bar is not None]


def merged(span: tuple[int, int], bars: list[Candle], prints: list[Seen]) -> Candle:
    ends = [p.price for p in prints if p.upd & HIGH_LOW]
    return Candle(
        *span,
        bars[0].open,
        max([bar.high for bar in bars] + ends),
        min([bar.low for bar in bars] + ends),
        bars[-1].close,
        volume_of(prints),
        dollars_of(prints),
    )


def candles_of(prints: list[Seen], tf: int, crypto: bool) -> list[Candle]:
    """Candles where there is a bar; their volume and extremes are of every print that may set them."""
    groups: dict[tuple[int, int], list[Candle]] = {}
    for bar in minute_bars(prints):
        groups.setdefault(bucket(bar.start, tf, crypto), []).append(bar)
    inside: dict[tuple[int, int], list[Seen]] = {}
    for p in prints:
        if p.in_bar:
            inside.setdefault(bucket(p.minute, tf, crypto), []).append(p)
    return [merged(span, groups[span], inside[span]) for span in sorted(groups)]


NOW = 1 << 62  # a clock before which everything was said


def known_at(tape: Tape, clock: int) -> tuple[int, int]:
    """How many late prints and changes were in what was said at clock events up to this one."""
    if "late" not in tape.cache:
        tape.cache["late"] = [p for p in tape.came if not p.in_time or p.is_behind]
        tape.cache["late clocks"] = [p.clock for p in tape.cache["late"]]
        tape.cache["change clocks"] = [c.clock for c in tape.changes]
    late = bisect_left(tape.cache["late clocks"], clock)
    changed = bisect_left(tape.cache["change clocks"], clock)
    return late, changed


def known_candles(tape: Tape, tf: int, clock: int) -> list[Candle]:
    late, changed = known_at(tape, clock)
    key = ("candles", tf, late, changed)
    if key not in tape.cache:
        is_late = {p.index for p in tape.cache["late"][:late]}
        known = [p for p in tape.came if (p.in_time and not p.is_behind) or p.index in is_late]
        tape.cache[key] = candles_of(applied(known, tape.changes[:changed]), tf, tape.crypto)
    return tape.cache[key]


def closed_count(tape: Tape, tf: int, clock: int, ts: int) -> int:
    return bisect_right(known_candles(tape, tf, clock), ts // MINUTE, key=lambda c: c.end)


def closed_at(tape: Tape, tf: int, p: Seen) -> list[Candle]:
    now = max(p.ts, p.clock)
    return known_candles(tape, tf, p.clock)[: closed_count(tape, tf, p.clock, now)]


def closed(tape: Tape, tf: int) -> list[Candle]:
    return known_candles(tape, tf, NOW)[: closed_count(tape, tf, NOW, tape.at)]


def all_bars(tape: Tape) -> list[Candle]:
    return known_candles(tape, 1, NOW)


def traded_days(tape: Tape) -> dict[int, Day]:
    """Days whose regular session had a price, from their prints."""
    if "traded" not in tape.cache:
        days = {}
        for day in {p.day for p in tape.prints if p.session == "market"}:
            ends = extremes_of(day_prints(tape, day, "market"))
            regular = day_ticks(tape, day, "market")
            opened = open_of(tape, day)
            if ends and regular and opened is not None:
                prices = (opened, *ends, regular[-1].price)
                volume = volume_of(day_prints(tape, day))
                days[day] = Day("", day, *prices, volume)
        tape.cache["traded"] = days
    return tape.cache["traded"]


def completed_days(tape: Tape, day: int) -> list[Day]:
    """Days before a day: as told, else as traded."""
    days = traded_days(tape) | {d.day: d for d in tape.days}
    return [days[one] for one in sorted(days) if one < day]


def closed_or_days(tape: Tape, timeframe: str) -> list[Candle] | list[Day]:
    if timeframe in ("daily", "1d"):
        return completed_days(tape, tape.today)
    return closed(tape, MINUTES[timeframe])


def sma(values: list[float], n: int) -> float | None:
    return mean(values[-n:]) if len(values) >= n else None


def ema_series(values: list[float], n: int) -> list[float | None]:
    series: list[float | None] = []
    average = None
    for i, value in enumerate(values):
        if i == n - 1:
            average = mean(values[:n])
        elif average is not None:
            average += (value - average) * 2 / (n + 1)
        series.append(average)
    return series


def ema(values: list[float], n: int) -> float | None:
    return ema_series(values, n)[-1] if values else None


def wilder(values: list[float], n: int) -> float:
    average = mean(values[:n])
    for value in values[n:]:
        average = (average * (n - 1) + value) / n
    return average


def rsi(closes: list[float], n: int) -> float | None:
    if len(closes) < n + 1:
        return None
    changes = [b - a for a, b in pairwise(closes)]
    gain = wilder([max(change, 0.0) for change in changes], n)
    loss = wilder([max(-change, 0.0) for change in changes], n)
    if gain == 0 and loss == 0:
        return 50.0
    return 100.0 if loss == 0 else 100 - 100 / (1 + gain / loss)


def true_ranges(candles: list) -> list[float]:
    ranges = [candles[0].high - candles[0].low]
    for before, c in pairwise(candles):
        jumps = (abs(c.high - before.close), abs(c.low - before.close))
        ranges.append(max(c.high - c.low, *jumps))
    return ranges


def atr(candles: list, n: int = 14) -> float | None:
    return wilder(true_ranges(candles), n) if len(candles) >= n + 1 else None


def closes_of(candles: list) -> list[float]:
    return [c.close for c in candles]


def average_of(candles: list, kind: str) -> float | None:
    n = int(kind[3:])
    return sma(closes_of(candles), n) if kind.startswith("sma") else ema(closes_of(candles), n)


def known_emas(tape: Tape, tf: int, clock: int, n: int) -> list[float | None]:
    key = ("emas", tf, *known_at(tape, clock), n)
    if key not in tape.cache:
        tape.cache[key] = ema_series(closes_of(known_candles(tape, tf, clock)), n)
    return tape.cache[key]


def session_anchor(session: str, day: int) -> tuple[int, str] | None:
    if session == "closed":
        return None
    return day, "premarket" if session == "premarket" else "market"


def session_vwap(prints: list[Seen], anchor: tuple[int, str] | None) -> float | None:
    if anchor is None:
        return None
    inside = [p for p in prints if session_anchor(p.session, p.day) == anchor]
    return divide(dollars_of(inside), volume_of(inside))


def vwaps_at_prints(tape: Tape) -> list[float | None]:
    """The VWAP that each print met, itself included, as corrections had left it by then."""
    if "vwaps" not in tape.cache:
        sums: dict[tuple[int, str] | None, list[float]] = {}
        counts = list(tape.came)
        vwaps, changes = [], list(tape.changes)
        for p in tape.came:
            while changes and changes[0].order < p.order:
                change = changes.pop(0)
                add_money(sums, counts[change.index], -1)
                counts[change.index] = change.now
                add_money(sums, change.now, 1)
            add_money(sums, p, 1)
            anchor = session_anchor(p.session, p.day)
            vwaps.append(None if anchor is None else divide(*sums[anchor]))
        tape.cache["vwaps"] = vwaps
    return tape.cache["vwaps"]


def add_money(sums: dict, p: Seen | None, sign: int) -> None:
    if p is not None:
        both_sums = sums.setdefault(session_anchor(p.session, p.day), [0.0, 0.0])
        if p.upd & VOLUME:
            both_sums[0] += sign * p.price * p.size
            both_sums[1] += sign * p.size


def vwap_now(tape: Tape) -> float | None:
    return session_vwap(tape.prints, session_anchor(tape.session, tape.today))


def window_prints(tape: Tape, n: int) -> list[Seen]:
    oldest = tape.minute_now - n + 1
    return [p for p in tape.prints if p.in_bar and oldest <= p.minute <= tape.minute_now]


def day_prints(tape: Tape, day: int, *sessions: str) -> list[Seen]:
    wanted = sessions or ("premarket", "market", "postmarket")
    return [p for p in tape.prints if p.day == day and p.is_today and p.session in wanted]


def volume_of(prints: list[Seen]) -> float:
    return float(sum(p.size for p in prints if p.upd & VOLUME))


def dollars_of(prints: list[Seen]) -> float:
    return float(sum(p.price * p.size for p in prints if p.upd & VOLUME))


def extremes_of(prints: list[Seen]) -> tuple[float, float] | None:
    prices = [p.price for p in prints if p.in_bar and p.upd & HIGH_LOW]
    return (max(prices), min(prices)) if prices else None


def range_values(suffix: str, ends: tuple[float, float] | None, price: float | None) -> Values:
    if ends is None:
        return {}
    high, low = ends
    above = difference(price, low)
    return {
        f"range_{suffix}": high - low,
        f"range_pct_{suffix}": percent(high - low, low),
        f"position_in_range_{suffix}": percent(above, high - low),
    }


def base_values(tape: Tape) -> Values:
    values: Values = {"price": last_price(tape)}
    bars = closed(tape, 1)
    if bars:
        bar = bars[-1]
        values |= {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close}
        values |= {"volume": bar.volume, "vwap": divide(bar.dollars, bar.volume)}
    if tape.prints:
        live = window_prints(tape, 1)
        values["volume_live"] = volume_of(live)
        values["vwap_live"] = divide(dollars_of(live), volume_of(live))
    return values


def window_values(tape: Tape) -> Values:
    if not tape.prints:
        return {}
    values: Values = {}
    for timeframe in (*LONG, "10m"):
        inside = window_prints(tape, MINUTES[timeframe])
        values[f"volume_{timeframe}"] = volume_of(inside)
        values[f"dollar_volume_{timeframe}"] = dollars_of(inside)
        values[f"trade_count_{timeframe}"] = float(sum(1 for p in inside if p.upd & VOLUME))
        values |= range_values(timeframe, extremes_of(inside), last_price(tape))
    return values


def close_minutes_ago(tape: Tape, n: int) -> float | None:
    older = [bar for bar in all_bars(tape) if bar.start <= tape.minute_now - n]
    if not older or tape.minute_now - n - older[-1].start > CARRIED_MINUTES:
        return None
    if tape.at // MINUTE - 1 - (tape.minute_now - n) >= KEPT_MINUTES:
        return None  # a halt outlasted what is kept
    return older[-1].close


def change_values(tape: Tape) -> Values:
    values: Values = {}
    price = last_price(tape)
    for timeframe in (*LONG, "10m", "2h", "4h"):
        then = close_minutes_ago(tape, MINUTES[timeframe])
        values[f"change_{timeframe}"] = difference(price, then)
        values[f"change_pct_{timeframe}"] = change_pct(price, then)
        values[f"price_change_{timeframe}_pct"] = change_pct(price, then)
    days = completed_days(tape, tape.today)
    for timeframe in ("1d", "2d", "5d", "10d", "20d"):
        n = DAYS[timeframe]
        then = days[-n].close if len(days) >= n else None
        values[f"change_pct_{timeframe}"] = change_pct(price, then)
    return values


def today_extremes(tape: Tape) -> tuple[float, float] | None:
    return extremes_of(day_prints(tape, tape.today))


def newest_days(tape: Tape, n: int) -> list[tuple[float, float]]:
    days = completed_days(tape, tape.today)
    if len(days) < n - 1:
        return []
    spans = [(d.high, d.low) for d in days[len(days) - (n - 1) :]]
    today = today_extremes(tape)
    return [*spans, today] if today else spans


def day_range_values(tape: Tape) -> Values:
    price, today = last_price(tape), today_extremes(tape)
    values = range_values("today", today, price)
    for timeframe in ("2d", "5d", "10d", "20d", "1y"):
        spans = newest_days(tape, DAYS[timeframe])
        if spans:
            ends = (max(high for high, _ in spans), min(low for _, low in spans))
            values |= range_values(timeframe, ends, price)
    for timeframe in ("3m", "6m", "1y"):
        shares = [percent(high - low, low) for high, low in newest_days(tape, DAYS[timeframe])]
        known = [share for share in shares if share is not None]
        values[f"biggest_range_{timeframe}"] = max(known, default=None)
    if today:
        daily_atr = atr(completed_days(tape, tape.today))
        values["relative_range_pct"] = percent(today[0] - today[1], daily_atr)
    return values


def day_volume_values(tape: Tape) -> Values:
    days = completed_days(tape, tape.today)
    volumes = [d.volume for d in days]
    values: Values = {f"avg_volume_{n}d": sma(volumes, n) for n in (5, 10, 20)}
    if not tape.prints:
        return values
    today = day_prints(tape, tape.today)
    values["volume_daily"] = volume_of(today)
    values["dollar_volume_daily"] = dollars_of(today)
    values["relative_volume_daily"] = percent(volume_of(today), sma(volumes, 10))
    premarket = volume_of(day_prints(tape, tape.today, "premarket"))
    values["premarket_volume"] = premarket
    values["postmarket_volume"] = volume_of(day_prints(tape, tape.today, "postmarket"))
    if tape.session == "premarket":
        yesterday = previous_trading_day(tape.today, tape.crypto)
        evening = volume_of(day_prints(tape, yesterday, "postmarket"))
        values["postmarket_volume"] = evening + premarket
    return values


def day_ticks(tape: Tape, day: int, *sessions: str) -> list[Seen]:
    return [p for p in day_prints(tape, day, *sessions) if p.in_time and p.upd & LAST]


def open_of(tape: Tape, day: int) -> float | None:
    for p in day_ticks(tape, day, "market"):
        if p.upd & HIGH_LOW:
            return p.price
    return None


def previous_close(tape: Tape, day: int) -> float | None:
    days = [d for d in tape.days if d.day < day]
    traded = {p.day for p in ticks(tape) if p.day < day and p.session != "closed"}
    if days:
        expected = days[-1].day == previous_trading_day(day, tape.crypto)
        if expected or days[-1].day > max(traded, default=-1):
            return days[-1].close
    if not traded:
        return None
    regular = day_ticks(tape, max(traded), "market")
    return (regular or day_ticks(tape, max(traded)))[-1].price


def close_and_open_values(tape: Tape) -> Values:
    price = last_price(tape)
    previous = previous_close(tape, tape.today)
    opened = open_of(tape, tape.today)
    values = both("change_from_close", price, previous)
    values |= both("change_from_open", price, opened)
    early = day_ticks(tape, tape.today, "premarket")
    first = opened if opened is not None else (early[0].price if early else None)
    values |= both("gap_from_close", first, previous)
    if tape.session == "premarket":
        values |= both("change_from_close_premarket", price, previous)
    if tape.session == "postmarket":
        regular = day_ticks(tape, tape.today, "market")
        final = regular[-1].price if regular else None
        values |= both("change_from_close_postmarket", price, final)
    return values


def extreme_values(tape: Tape) -> Values:
    values: Values = both("vwap_dist", last_price(tape), vwap_now(tape))
    price = last_price(tape)
    regular = extremes_of(day_prints(tape, tape.today, "market"))
    for suffix, ends in (("", regular), ("_extended", today_extremes(tape))):
        high, low = ends or (None, None)
        values[f"dist_to_high_of_day{suffix}_pct"] = percent(difference(high, price), high)
        values[f"dist_to_low_of_day{suffix}_pct"] = percent(difference(price, low), low)
    return values


def running_candle(tape: Tape, tf: int) -> tuple[int, float, list[Candle]]:
    start, _ = bucket(tape.minute_now, tf, tape.crypto)
    candles = known_candles(tape, tf, NOW)
    volume = volume_of([p for p in tape.prints if p.in_bar and p.minute >= start])
    return start, volume, [c for c in candles if c.start < start]


def window_ns(tape: Tape) -> int:
    """The time that windows end with: in a halt its beginning, or the end of a minute printed in it."""
    began = tape.halts.since
    if not began:
        return tape.at
    printed = (tape.minute_now + 1) * MINUTE if tape.minute_now > (began - 1) // MINUTE else 0
    return min(tape.at, max(began, printed))


def relative_volume_values(tape: Tape) -> Values:
    if not tape.prints:
        return {}
    values: Values = {}
    for timeframe in SHORT:
        tf = MINUTES[timeframe]
        start, volume, before = running_candle(tape, tf)
        for n in (2, 10):
            usual = sma([c.volume for c in before], n)
            values[f"volume_spike_{n}_{timeframe}"] = divide(volume, usual)
        elapsed = min(window_ns(tape) - start * MINUTE, tf * MINUTE)
        if elapsed > 0:
            forecast = volume * tf * MINUTE / elapsed
            usual = sma([c.volume for c in before], 10)
            values[f"relative_volume_{timeframe}"] = percent(forecast, usual)
    return values


def volume_until(tape: Tape, day: int, offset: int) -> float:
    start = hours_of(day, tape.crypto)[0] // MINUTE
    return volume_of([p for p in day_prints(tape, day) if p.minute - start <= offset])


def same_time_values(tape: Tape) -> Values:
    half = is_half_day(tape.today, tape.crypto)
    traded = {p.day for p in tape.prints if p.session != "closed" and p.day < tape.today}
    alike = sorted(day for day in traded if is_half_day(day, tape.crypto) == half)[-10:]
    if not alike or tape.crypto:  # a day around the clock is not kept by minute
        return {}
    offset = tape.minute_now - hours_of(tape.today, tape.crypto)[0] // MINUTE
    usual = mean([volume_until(tape, day, offset) for day in alike])
    now = volume_until(tape, tape.today, offset)
    return {"relative_volume_same_time": percent(now, usual)}


def momentum_values(tape: Tape) -> Values:
    values: Values = {}
    for timeframe in (*SHORT, "daily"):
        values[f"rsi_14_{timeframe}"] = rsi(closes_of(closed_or_days(tape, timeframe)), 14)
    for timeframe in ("1m", "5m", "daily"):
        candles = closed_or_days(tape, timeframe)
        average = atr(candles)
        values[f"atr_14_{timeframe}"] = average
        close = candles[-1].close if candles else None
        values[f"atrp_14_{timeframe}"] = percent(average, close)
    for name in DISTANCES.split():
        kind, timeframe = name.split("_")
        average = average_of(closed_or_days(tape, timeframe), kind)
        values[f"ma_dist_{name}_pct"] = change_pct(last_price(tape), average)
    return values


def macd_values(closes: list[float]) -> Values:
    fast, slow = ema_series(closes, 12), ema_series(closes, 26)
    pairs = zip(fast, slow, strict=True)
    lines = [a - b for a, b in pairs if a is not None and b is not None]
    line, signal = (lines[-1] if lines else None), ema(lines, 9)
    return {
        "macd_12_26_9": line,
        "macd_12_26_9_signal": signal,
        "macd_12_26_9_histogram": difference(line, signal),
    }


def bollinger_values(closes: list[float]) -> Values:
    middle = sma(closes, 20)
    if middle is None:
        return {}
    deviation = sqrt(mean([(close - middle) ** 2 for close in closes[-20:]]))
    return {
        "bb_20_2.0": middle,
        "bb_20_2.0_upper": middle + 2 * deviation,
        "bb_20_2.0_lower": middle - 2 * deviation,
    }


def raw_stochastic(candles: list[Candle]) -> float:
    highest, lowest = max(c.high for c in candles), min(c.low for c in candles)
    if highest == lowest:
        return 50.0
    return 100 * (candles[-1].close - lowest) / (highest - lowest)


def stochastic_values(bars: list[Candle]) -> Values:
    raw = [raw_stochastic(bars[i - 14 : i]) for i in range(14, len(bars) + 1)]
    slowed = [mean(raw[i - 3 : i]) for i in range(3, len(raw) + 1)]
    return {"stoch_14_3_3": slowed[-1] if slowed else None, "stoch_14_3_3_d": sma(slowed, 3)}


def bar_window_values(tape: Tape) -> Values:
    values: Values = {}
    bars = closed(tape, 1)
    for timeframe in ("5m", "15m", "1h"):
        inside = [bar for bar in bars if bar.start > bars[-1].start - MINUTES[timeframe]]
        if inside:
            volume = sum(bar.volume for bar in inside)
            values[f"vwap_{timeframe}"] = divide(sum(bar.dollars for bar in inside), volume)
            values[f"volume_avg_{timeframe}"] = volume / len(inside)
    values["vwap_dist_5m_pct"] = change_pct(last_price(tape), values.get("vwap_5m"))
    return values


def indicator_values(tape: Tape) -> Values:
    bars = closed(tape, 1)
    closes = closes_of(bars)
    values: Values = {f"rsi_{n}": rsi(closes, n) for n in (9, 14, 21)}
    values |= {f"ema_{n}": ema(closes, n) for n in (9, 12, 20, 21, 26, 50, 200)}
    values |= {f"sma_{n}": sma(closes, n) for n in (10, 20, 50, 200)}
    values["atr_14"] = atr(bars)
    return values | macd_values(closes) | bollinger_values(closes) | stochastic_values(bars)


def colour(c: Candle | Day) -> int:
    return (c.close > c.open) - (c.close < c.open)


def consecutive(candles: list) -> float | None:
    if not candles:
        return None
    newest, run = colour(candles[-1]), 0
    for c in reversed(candles):
        if newest == 0 or colour(c) != newest:
            break
        run += newest
    return float(run)


def body(c: Candle) -> float:
    return abs(c.close - c.open)


def one_candle_values(tape: Tape) -> Values:
    values: Values = {}
    for timeframe in (*SHORT, "daily"):
        values[f"consecutive_candles_{timeframe}"] = consecutive(closed_or_days(tape, timeframe))
    for timeframe in SHORT:
        candles = closed(tape, MINUTES[timeframe])
        if not candles:
            continue
        c = candles[-1]
        lower, upper = min(c.open, c.close) - c.low, c.high - max(c.open, c.close)
        values[f"lower_shadow_ratio_{timeframe}"] = divide(lower, body(c))
        values[f"upper_shadow_ratio_{timeframe}"] = divide(upper, body(c))
        values[f"is_bullish_candle_{timeframe}"] = flag(colour(c) > 0)
        values[f"is_bearish_candle_{timeframe}"] = flag(colour(c) < 0)
    return values


def pattern_values(timeframe: str, prev: Candle, cur: Candle) -> Values:
    rises = colour(prev) < 0 < colour(cur)
    falls = colour(cur) < 0 < colour(prev)
    larger, smaller = body(cur) > body(prev), body(cur) < body(prev)
    around_red = cur.open < prev.close and cur.close > prev.open
    around_green = cur.open > prev.close and cur.close < prev.open
    inside_red = prev.close < cur.open and cur.close < prev.open
    inside_green = cur.open < prev.close and cur.close > prev.open
    return {
        f"bullish_engulfing_{timeframe}": flag(rises and larger and around_red),
        f"bearish_engulfing_{timeframe}": flag(falls and larger and around_green),
        f"bullish_harami_{timeframe}": flag(rises and smaller and inside_red),
        f"bearish_harami_{timeframe}": flag(falls and smaller and inside_green),
    }


def two_candle_values(tape: Tape) -> Values:
    values: Values = {}
    for timeframe in (*LONG, "4h", "1d"):
        candles = closed_or_days(tape, timeframe)
        if len(candles) < 2:
            continue
        prev, cur = candles[-2], candles[-1]
        inside = cur.high < prev.high and cur.low > prev.low
        values[f"inside_bar_{timeframe}"] = flag(inside)
        values[f"new_candle_high_{timeframe}"] = flag(cur.high > prev.high)
        values[f"new_candle_low_{timeframe}"] = flag(cur.low < prev.low)
        values |= pattern_values(timeframe, prev, cur)
    return values


def recent_extreme(candles: list[Candle], high: bool) -> float | None:
    newest = candles[-LOOKBACK:]
    if len(newest) < LOOKBACK:
        return None
    return max(c.high for c in newest) if high else min(c.low for c in newest)


def broke(tape: Tape, tf: int, high: bool) -> float | None:
    p = last_tick(tape)
    level = recent_extreme(closed_at(tape, tf, p), high) if p else None
    if level is None:
        return None
    span = bucket(p.minute, tf, tape.crypto)
    own = [q for q in as_of(tape, p).prints if q.minute == p.minute and q.index != p.index]
    said = tape.changes[: known_at(tape, p.clock)[1]]
    over = [q for q in applied(tape.came[: p.index], said) if span[0] <= q.minute < p.minute]
    running = [q.price for q in [*over, *own] if q.in_bar and q.upd & HIGH_LOW]
    if high:
        return flag(p.price > max([level, *running]))
    return flag(p.price < min([level, *running]))


def rejected(tape: Tape, tf: int, high: bool) -> float | None:
    armed, value = False, None
    for p in ticks_as_they_came(tape):
        level = recent_extreme(closed_at(tape, tf, p), high)
        if level is None:
            armed, value = False, None
            continue
        bottom, top = level * (1 - 0.001), level * (1 + 0.001)
        turned = p.price <= level * (1 - 0.005) if high else p.price >= level * (1 + 0.005)
        value = flag(turned and armed)
        if turned or (p.price > top if high else p.price < bottom):
            armed = False
        elif bottom <= p.price <= top:
            armed = True
    return value


def recent_values(tape: Tape) -> Values:
    values: Values = {}
    price = last_price(tape)
    for timeframe in LONG:
        tf = MINUTES[timeframe]
        values[f"rejected_recent_high_{timeframe}"] = rejected(tape, tf, True)
        values[f"rejected_recent_low_{timeframe}"] = rejected(tape, tf, False)
        high = recent_extreme(closed(tape, tf), True)
        low = recent_extreme(closed(tape, tf), False)
        values[f"dist_to_recent_high_{timeframe}_pct"] = percent(difference(high, price), high)
        values[f"dist_to_recent_low_{timeframe}_pct"] = percent(difference(price, low), low)
    for timeframe in (*SHORT, "4h"):
        values[f"broke_recent_high_{timeframe}"] = broke(tape, MINUTES[timeframe], True)
        values[f"broke_recent_low_{timeframe}"] = broke(tape, MINUTES[timeframe], False)
    return values


def vwap_bounce(tape: Tape, tf: int, sign: int) -> float | None:
    value, anchor, side, touch = None, None, 0, None
    for p in ticks_as_they_came(tape):
        vwap = vwaps_at_prints(tape)[p.index]
        here = session_anchor(p.session, p.day)
        if here != anchor:
            anchor, side, touch = here, 0, None
        if vwap is None or vwap == 0:
            value = None
            continue
        away = sign * (p.price / vwap - 1)
        value = flag(away >= 0.002 and touch is not None and p.ts - touch <= tf * MINUTE)
        if away >= 0.002 or away < -0.001:
            touch = None
        elif abs(away) <= 0.001 and side == 1:
            touch = p.ts
        side = 1 if away > 0.001 else -1 if away < -0.001 else side
    return value


def far_closes(tape: Tape, n: int, tf: int) -> list[int]:
    """The clock events at which a candle that closed away from its EMA was said for the first time."""
    told, far = -1, []
    for clock in saying_clocks(tape, tf):
        known = known_candles(tape, tf, clock)
        count = bisect_right(known, clock // MINUTE, key=lambda c: c.end)
        if not count or known[count - 1].start <= told:
            continue
        told = known[count - 1].start
        level = known_emas(tape, tf, clock, n)[count - 1]
        if level is not None and abs(known[count - 1].close - level) / level > 0.02:
            far.append(clock)
    return far


def saying_clocks(tape: Tape, tf: int) -> list[int]:
    """The clock events at which a candle may have closed, or a late one been said."""
    key = ("saying", tf)
    if key not in tape.cache:
        late = [p.clock + 1 for p in tape.came if not p.in_time or p.is_behind]
        ends = {bucket(p.minute, tf, tape.crypto)[1] * MINUTE for p in tape.came}
        clocks = [*tape.reached, tape.at]
        places = {bisect_left(clocks, one) for one in {*late, *ends}}
        tape.cache[key] = sorted({clocks[place] for place in places if place < len(clocks)})
    return tape.cache[key]


def back_to_ema(tape: Tape, n: int, tf: int) -> float | None:
    value, armed, far = None, False, far_closes(tape, n, tf)
    for p in ticks_as_they_came(tape):
        while far and far[0] <= p.clock:
            far.pop(0)
            armed = True
        candles, emas = closed_at(tape, tf, p), known_emas(tape, tf, p.clock, n)
        level = emas[len(candles) - 1] if candles else None
        if level is None:
            value = None
            continue
        near = abs(p.price - level) / level <= 0.005
        value = flag(near and armed)
        armed = armed and not near
    return value


def bounce_values(tape: Tape) -> Values:
    values: Values = {}
    for timeframe in SHORT:
        values[f"vwap_support_{timeframe}"] = vwap_bounce(tape, MINUTES[timeframe], 1)
        values[f"vwap_resistance_{timeframe}"] = vwap_bounce(tape, MINUTES[timeframe], -1)
    for name in RETURNS.split():
        kind, timeframe = name.split("_")
        n, tf = int(kind[3:]), MINUTES[timeframe]
        values[f"back_to_ema_{name}"] = back_to_ema(tape, n, tf)
    return values


def prices_met(tape: Tape) -> tuple[float | None, float | None]:
    """The price that the newest print met, and the newest before it that differs from that one.

    Of its own day since the last status; the price met is of the prints that were left by then.
    """
    p = last_tick(tape)
    since = max((order for order in tape.breaks if order <= p.order), default=-1)
    own = (p.day, p.session == "closed")
    met = other = newest = None
    changes = [c for c in tape.changes if c.order < p.order]
    for q in [q for q in ticks_as_they_came(tape) if since <= q.order <= p.order]:
        while newest and changes and changes[0].order < q.order:
            if changes.pop(0).index == newest.index:
                left = [r for r in ticks(as_of(tape, q)) if r.index < q.index and r.order >= since]
                met = left[-1].price if left else None
        if (q.day, q.session == "closed") == own and q.index != p.index:
            other = met if met is not None and met != q.price else other
            met, newest = q.price, q
    return met, other


def crossed(met: tuple, price: float, level: float | None, sign: int) -> float | None:
    if level is None or met[0] is None:
        return None
    before = met[1] if met[0] == level else met[0]
    if before is None:
        return 0.0
    return flag(sign * (price - level) > 0 and sign * (before - level) < 0)


def levels_at(tape: Tape, p: Seen) -> Values:
    then = as_of(tape, p)
    levels: Values = {
        "open": open_of(then, p.day),
        "close": previous_close(then, p.day),
        "vwap": vwaps_at_prints(tape)[p.index],
    }
    for name in LEVELS.split():
        kind, timeframe = name.split("_")
        daily = timeframe == "daily"
        candles = completed_days(tape, p.day) if daily else closed_at(tape, MINUTES[timeframe], p)
        levels[name] = average_of(candles, kind)
    return levels


def crossing_values(tape: Tape) -> Values:
    p = last_tick(tape)
    if p is None:
        return {}
    values: Values = {}
    met = prices_met(tape)
    for name, level in levels_at(tape, p).items():
        values[f"crossed_above_{name}"] = crossed(met, p.price, level, 1)
        values[f"crossed_below_{name}"] = crossed(met, p.price, level, -1)
    return values


def price_until(tape: Tape, until: int) -> float | None:
    """The price in order of event time: a print older than the newest one before it is no news.

    A cancelled price stays in the last minute: what came is what ran.
    """
    newest, price = -1, None
    for q in ticks_as_they_came(tape):
        if q.day == tape.today and q.ts >= newest:
            newest = q.ts
            price = q.price if q.ts <= until else price
    return price


def running_values(tape: Tape) -> Values:
    if last_tick(tape) is None:
        return {}
    then = price_until(tape, window_ns(tape) - 60 * SECOND)
    price = last_price(tape)
    return both("running_up_60s", price, then) | both("running_down_60s", price, then)


def opening_range(tape: Tape, tf: int, up: bool) -> float | None:
    opened = hours_of(tape.today, tape.crypto)[1]
    start = opened // MINUTE
    prints = [p for p in day_prints(tape, tape.today, "market") if p.in_bar and p.upd & HIGH_LOW]
    ends = extremes_of([p for p in prints if p.minute < start + tf])
    if tape.at < opened + tf * MINUTE or ends is None:
        return None
    for p in sorted(prints, key=lambda p: p.minute):
        beyond = p.price > ends[0] if up else p.price < ends[1]
        if p.minute >= start + tf and beyond:
            return flag((p.minute - start) // tf == (tape.minute_now - start) // tf)
    return 0.0


def opening_values(tape: Tape) -> Values:
    values: Values = {}
    for timeframe in LONG:
        tf = MINUTES[timeframe]
        values[f"opening_range_breakout_{timeframe}"] = opening_range(tape, tf, True)
        values[f"opening_range_breakdown_{timeframe}"] = opening_range(tape, tf, False)
    return values


def through_values(tape: Tape) -> Values:
    bars = closed(tape, 1)
    if len(bars) < 6:
        return {}
    bar = bars[-1]
    if place(bar.start, tape.crypto)[1] != tape.today:
        return {}  # the VWAP of another day
    # The VWAP is that of the clock event that said the bar, for the last time.
    inside = {p.index: p.clock for p in tape.came if p.minute == bar.start and p.in_bar}
    changed = [c.clock for c in tape.changes if c.index in inside]
    said = max(bar.end * MINUTE, 1 + max([*inside.values(), *changed]))
    order = bisect_left(tape.reached, said)
    came = [p for p in tape.came if p.order < order]
    then = applied(came, [c for c in tape.changes if c.order < order])
    vwap = session_vwap(then, session_anchor(*place(bar.start, tape.crypto)))
    if vwap is None:
        return {}
    usual = mean([b.high - b.low for b in bars[-6:-1]])
    wide = bar.high - bar.low >= 3 * usual
    return {
        "through_vwap_above": flag(wide and bar.open < vwap < bar.close),
        "through_vwap_below": flag(wide and bar.open > vwap > bar.close),
    }


def clock_values(tape: Tape) -> Values:
    values: Values = {}
    if tape.session != "closed":
        opened = hours_of(tape.today, tape.crypto)[1]
        values["minutes_in_market"] = float((tape.at - opened) // MINUTE)
    news = tape.facts.get("news_ns")
    age = None if news is None else tape.at - int(news)
    if age is not None and 0 <= age <= 3 * DAY:
        values["days_since_news"] = age / DAY
        if age <= DAY:
            values["minutes_since_news"] = age / MINUTE
            values["hours_since_news"] = age / HOUR
    earnings = tape.facts.get("earnings_ns")
    if earnings is not None:
        then = int(earnings) // DAY
        ahead = then - calendar_day(tape.at // MINUTE, tape.crypto)
        values["days_until_earnings"] = float(ahead) if ahead >= 0 else None
    for name in FACTS.split():
        values[name] = tape.facts.get(name)
    return values


def limit_since(tape: Tape) -> int:
    """Since when every print is at a band or beyond; 0 if the newest is not. News of trading ends it."""
    since, heard = 0, list(tape.statuses)
    breaks = set(tape.breaks)
    bands, told = None, 0
    for p in [*ticks_as_they_came(tape), None]:
        while heard and (p is None or heard[0].order < p.order):
            one = heard.pop(0)
            if one.status.bands and one.status.ts_ns >= told:
                bands, told = one.status.bands, one.status.ts_ns
            since = 0 if one.order in breaks else since
        if p is not None:
            is_at = bands is not None and (p.price >= bands[0] or p.price <= bands[1])
            since = (since or p.ts) if is_at else 0
    return since


def band_values(tape: Tape) -> Values:
    """Bands hold in the regular session of the day they were told in, from a minute before the open."""
    opened = hours_of(tape.today, tape.crypto)[1]
    bands = tape.halts.bands
    if bands is None or tape.session != "market" or tape.halts.bands_told < opened - MINUTE:
        return {}
    since, price = limit_since(tape), last_price(tape)
    return {
        "limit_state_s": max(tape.at - since, 0) / SECOND if since else 0.0,
        "dist_to_limit_up_pct": percent(difference(bands[0], price), bands[0]),
        "dist_to_limit_down_pct": percent(difference(price, bands[1]), bands[1]),
    }


FAMILIES = (
    base_values,
    window_values,
    change_values,
    day_range_values,
    day_volume_values,
    close_and_open_values,
    extreme_values,
    relative_volume_values,
    same_time_values,
    momentum_values,
    bar_window_values,
    indicator_values,
    one_candle_values,
    two_candle_values,
    recent_values,
    bounce_values,
    crossing_values,
    running_values,
    opening_values,
    through_values,
    band_values,
    clock_values,
)


def symbol_values(tape: Tape, names: set[str] | None) -> dict[str, float]:
    values: Values = {}
    for family in FAMILIES:
        values |= family(tape)
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and isfinite(value) and (names is None or name in names)
    }


def when(event: Event) -> int:
    return event.ts_ns if isinstance(event, Print) else event.at_ns


def slow_metrics(
    events: Sequence[Event],
    days: list[Day],
    at_ns: int,
    names: Iterable[str] | None = None,
    facts: dict[str, dict[str, float]] | None = None,
) -> dict[str, dict[str, float]]:
    """Values of every symbol after what happened, in order of arrival; a clock each second between."""
    wanted = None if names is None else set(names)
    known = facts or {}
    happened = [one for one in events if when(one) <= at_ns]
    symbols = {one.symbol for one in happened} | {d.symbol for d in days} | set(known)
    reached = list(accumulate((when(one) // SECOND * SECOND for one in happened), max))
    answer = {}
    for symbol in sorted(symbols):
        own = [
            (order, clock, one)
            for order, (clock, one) in enumerate(zip(reached, happened, strict=True))
            if one.symbol == symbol
        ]
        own_days = [d for d in days if d.symbol == symbol]
        tape = tape_of(symbol, own, reached, own_days, at_ns, known.get(symbol, {}))
        answer[symbol] = symbol_values(tape, wanted)
    return answer
