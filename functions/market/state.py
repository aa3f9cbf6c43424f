"""What the scanner remembers of every symbol: one row per symbol, one column per value."""

from __future__ import annotations

from functions.market.indicators import NAMES as INDICATORS
from functions.market.outliers import STATE as OUTLIERS
from functions.market.quotes import STATE as QUOTES
from functions.market.series import CANDLE, REVISABLE, Series
from functions.market.windows import STATE as WINDOWS

MINUTE_NS = 60_000_000_000
DAYS = 10  # of the volume profile
PROFILE_MINUTES = 960  # 04:00 to 20:00
CHANGES = 256  # ring of price changes: a minute of one every 250 ms
OPENING_RANGES = (1, 2, 5, 15, 30, 60)
BAR = ("open", "high", "low", "close", "volume", "vwap")

# Timeframe -> minutes. `1m` candles are the bars; `daily` ones are trading days.
MINUTES_OF = {"1m": 1, "2m": 2, "5m": 5, "10m": 10, "15m": 15, "30m": 30, "60m": 60, "2h": 120, "4h": 240}  # fmt: skip
VOLUMES = {"volumes": 10 + 2 * REVISABLE, "means": (2, 10)}
SERIES = {
    "1m": Series("c1m", **VOLUMES),
    "2m": Series("c2m", emas=(20,), rsis=(14,), **VOLUMES),
    "5m": Series("c5m", emas=(9, 20), rsis=(14,), atr=14, **VOLUMES),
    "10m": Series("c10m"),
    "15m": Series("c15m", emas=(9, 20, 21, 50), rsis=(14,), **VOLUMES),
    "30m": Series("c30m"),
    "60m": Series("c60m", emas=(9, 21)),
    "2h": Series("c2h"),
    "4h": Series("c4h"),
    "daily": Series(
        "c1d",
        closes=200 + 2 * REVISABLE,
        spans=252 + 2 * REVISABLE,
        volumes=20 + 2 * REVISABLE,
        emas=(9, 21, 50),
        smas=(10, 20, 200),
        rsis=(14,),
        atr=14,
        extremes=0,
        means=(5, 10, 20),
    ),
}
ASIDE = 5  # days a stream of a week's bars holds
DAY_SPANS = (5, 10, 20, 252)  # days whose high and low are kept, today's not included
DAY_RANGES = (63, 126, 252)  # days whose largest range is kept

STATE = {
    "setup": "text",  # the calendars a deployment adds, see sessions
    "closed_to": "text",  # the minute the clock has reached: candles that ended by then are closed
    "market": "u1",  # code of sessions.MARKETS, plus 1; 0 = not looked up
    "day": "i8",  # trading day the figures of the day are of
    "session": "u1",  # session reached
    "arriving": "text",  # prints of the next frame that are not taken as they come, as JSON
    # -- prices
    "last": "f8",  # last eligible price; 0 = none yet
    "last_ns": "i8",
    "seen": "f8",  # the same, 0 at a day's start, after a halt and after a gap
    "other": "f8",  # the newest price of that stretch that differs from `seen`
    # -- the running minute
    "minute": "i8",  # newest minute with a print
    "live_volume": "f8",
    "live_notional": "f8",
    "live_count": "f8",
    "live_high": "f8",  # 0 = none
    "live_low": "f8",
    # -- the day
    "volume_pre": "f8",
    "volume_market": "f8",
    "volume_post": "f8",
    "post_before": "f8",  # postmarket volume of the day before
    "notional_pre": "f8",
    "notional_market": "f8",  # with postmarket
    "open_pre": "f8",  # first eligible price of premarket
    "open_market": "f8",  # the open: first eligible price of the regular session, or the official one
    "close_market": "f8",  # newest eligible price of the regular session, or the official close
    "is_official": "u1",  # bits: 1 the open, 2 the close are official
    "day_high": "f8",  # of the regular session; 0 = none
    "day_low": "f8",
    "ext_high": "f8",  # of all sessions
    "ext_low": "f8",
    "prev_close": "f8",  # official close of the trading day before; 0 = not known
    "factor": "f8",  # price factor of a split that is to come; 0 = none
    "factor_day": "i8",  # the trading day it comes with
    "split_day": "i8",  # trading day of the newest split that daily history and closes are of
    "split_factor": "f8",  # its factor
    "scaled_day": "i8",  # the same of minutes, indicators and volumes by minute
    "since_day": "i8",  # what is dated before this was another company under the same symbol
    "half_high": (
        "f8",
        34,
        "put",
    ),  # per half hour since 04:00, regular and extended as the hour says
    "half_low": ("f8", 34, "put"),
    "range_high": ("f8", len(OPENING_RANGES)),
    "range_low": ("f8", len(OPENING_RANGES)),
    "range_up": ("i8", len(OPENING_RANGES)),  # first minute above the range; 0 = none yet
    "range_down": ("i8", len(OPENING_RANGES)),
    "vwap_closed": "f8",  # session VWAP when the last bar closed
    # -- minutes
    **WINDOWS,
    # -- daily history, folded when first asked for
    "days_folded": "i8",  # the number of candles and changes that the columns below are of, plus 1
    "days_changed": "i8",
    "days_from": "i8",  # date of the first candle
    **{f"days_{side}_{n}": "f8" for side in ("high", "low") for n in DAY_SPANS},
    **{f"days_range_{n}": "f8" for n in DAY_RANGES},
    # -- daily candles that wait for the history before them, see reference
    "aside_day": ("i8", ASIDE),
    **{f"aside_{name}": ("f8", ASIDE) for name in CANDLE},
    # -- volume of the last days by minute
    "profile": ("f4", (DAYS + 1) * PROFILE_MINUTES, "put"),
    "profile_days": "i4",  # completed days with trades; the running one is written at this % (DAYS + 1)
    "profile_kind": ("u1", DAYS + 1),  # 1 full day, 2 half day, 0 none
    "same_time": ("f8", DAYS + 1),  # cumulative volume of each day up to `same_minute`
    "same_minute": "i8",  # minute of the day the sums have reached, plus 1
    # -- price changes of the last minute
    "changes": "i8",  # how many
    "changes_ns": "i8",  # newest time of a print: what comes later and is older is no news
    "change_ns": ("i8", CHANGES, "put"),
    "change_price": ("f8", CHANGES, "put"),
    # -- the last bar and its indicators
    "bar": ("f8", len(BAR), "put"),
    "bar_minute": "i8",
    "indicators": ("f8", len(INDICATORS), "put"),
    "indicators_minute": "i8",
    # -- what watches every print: what it holds, and what it said at the last one (see machines)
    "arm.*": "i8",
    "hit.*": "u1",
    # -- the newest quote
    **QUOTES,
    # -- prints held back
    **OUTLIERS,
    # -- reference data: facts by name (float, marketcap, news_ns, ...); NaN or 0 = not known
    "fact.*": "f8",
    **{name: shape for one in SERIES.values() for name, shape in one.state.items()},
}
