"""Every name the scanner knows: formula, unit, warm-up, sessions, default threshold, data needed, source.

The table is what rules default to and what docs/metrics.md is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from functions.market.toplists import LISTS

ALL = ("premarket", "market", "postmarket")
EARLY = ("premarket", "market")
LATE = ("market", "postmarket")
REGULAR = ("market",)
PRE = ("premarket",)
POST = ("postmarket",)


@dataclass(frozen=True)
class Family:
    """Names with one formula; a timeframe or a window is part of the name."""

    id: str
    kind: str  # base, indicator, filter or alert
    title: str
    names: tuple[str, ...]
    formula: str
    unit: str
    sessions: tuple[str, ...] = ALL
    volume_threshold: float = 0.0  # shares of the day; what a rule that names none asks for
    condition: str = ""  # of an alert metric: the condition it is made for
    needs: tuple[str, ...] = ()
    warm_up: str = "1 print"  # see `warm_up_of` for what may stand in braces
    days: str = ""  # the same for windows of days
    source: str = "Jetscan"
    category: str = ""
    params: Mapping[str, float] = field(default_factory=dict)  # numbers the formula rests on
    evaluate_on: str = ""  # of an alert metric: when it can change, tick or candle_close
    aliases: Mapping[str, str] = field(default_factory=dict)  # other name -> name


# fmt: off
FAMILIES = (
    Family("volume_live", "base", "volume live", ("volume_live",), "volume of the running minute", "shares", needs=("ticks",), source="docs/wire.md: bars"),
    Family("vwap_live", "base", "vwap live", ("vwap_live",), "sum(price * size) / sum(size) of the running minute", "usd", needs=("ticks",), source="Berkowitz, Logue and Noser, The Total Cost of Transactions on the NYSE, 1988"),
    Family("close", "base", "close", ("close",), "close of the last closed bar", "usd", needs=("bars_1m",), warm_up="1 bar", source="docs/wire.md: bars"),
    Family("open", "base", "open", ("open",), "open of the last closed bar", "usd", needs=("bars_1m",), warm_up="1 bar", source="docs/wire.md: bars"),
    Family("high", "base", "high", ("high",), "high of the last closed bar", "usd", needs=("bars_1m",), warm_up="1 bar", source="docs/wire.md: bars"),
    Family("low", "base", "low", ("low",), "low of the last closed bar", "usd", needs=("bars_1m",), warm_up="1 bar", source="docs/wire.md: bars"),
    Family("volume", "base", "volume", ("volume",), "volume of the last closed bar", "shares", needs=("bars_1m",), warm_up="1 bar", source="docs/wire.md: bars"),
    Family("vwap", "base", "vwap", ("vwap",), "vwap of the last closed bar", "usd", needs=("bars_1m",), warm_up="1 bar", source="Berkowitz, Logue and Noser, The Total Cost of Transactions on the NYSE, 1988"),
    Family("indicator_rsi", "indicator", "RSI", ("rsi_9", "rsi_14", "rsi_21"), "100-100/(1+avg_gain/avg_loss), Wilder smoothing seeded by mean of first n changes", "index 0..100", needs=("bars_1m",), warm_up="{after} bars", category="momentum", source="Wilder, New Concepts in Technical Trading Systems, 1978"),
    Family("indicator_ema", "indicator", "EMA", ("ema_9", "ema_12", "ema_20", "ema_21", "ema_26", "ema_50", "ema_200"), "alpha=2/(n+1), seeded with SMA(n)", "usd", needs=("bars_1m",), warm_up="{n} bars", category="trend", source="Haurlan, Measuring Trend Values, 1968; begun with a mean"),
    Family("indicator_sma", "indicator", "SMA", ("sma_10", "sma_20", "sma_50", "sma_200"), "mean of last n closes", "usd", needs=("bars_1m",), warm_up="{n} bars", category="trend", source="arithmetic mean"),
    Family("indicator_macd", "indicator", "MACD", ("macd_12_26_9",), "ema_12 - ema_26; _signal = EMA of 9 of it, _histogram = the difference", "usd", needs=("bars_1m",), warm_up="26 bars", category="trend", source="Appel, The Moving Average Convergence-Divergence Trading Method, 1979"),
    Family("indicator_atr", "indicator", "ATR", ("atr_14",), "Wilder smoothing of the true range (first = high - low), seeded with the mean of 14", "usd", needs=("bars_1m",), warm_up="15 bars", category="volatility", source="Wilder, New Concepts in Technical Trading Systems, 1978"),
    Family("indicator_bb", "indicator", "Bollinger", ("bb_20_2.0",), "mid = SMA of 20; _upper, _lower = 2 population standard deviations away", "usd", needs=("bars_1m",), warm_up="20 bars", category="volatility", source="Bollinger on Bollinger Bands, 2001"),
    Family("indicator_stoch", "indicator", "Stochastic", ("stoch_14_3_3",), "%K of 14 slowed by 3; _d = mean of 3 of it", "index 0..100", needs=("bars_1m",), warm_up="16 bars", category="momentum", source="Lane, Lane's Stochastics, 1984"),
    Family("indicator_vwap", "indicator", "VWAP", ("vwap_5m", "vwap_15m", "vwap_1h"), "sum(price*vol)/sum(vol) over window", "usd", needs=("bars_1m",), warm_up="1 bar", category="price", source="Berkowitz, Logue and Noser, The Total Cost of Transactions on the NYSE, 1988"),
    Family("indicator_volume", "indicator", "Mean bar volume", ("volume_avg_5m", "volume_avg_15m", "volume_avg_1h"), "mean bar volume over window", "shares", needs=("bars_1m",), warm_up="1 bar", category="volume", source="arithmetic mean"),
    Family("indicator_price", "indicator", "Change", ("price_change_1m_pct", "price_change_5m_pct", "price_change_15m_pct"), "alias of change_pct_N", "percent", needs=("bars_1m",), warm_up="{minutes} min since the first bar", category="price", source="Jetscan: another name, as rules write it"),
    Family("postmarket_volume", "filter", "Postmarket volume", ("postmarket_volume",), "sum of sizes of today's postmarket; in premarket the last day's postmarket plus today's premarket", "shares", needs=("ticks", "session"), source="CTA and UTP plans: prints whose sale conditions count in volume"),
    Family("premarket_volume", "filter", "Premarket volume", ("premarket_volume",), "sum of sizes of today's premarket", "shares", needs=("ticks", "session"), source="CTA and UTP plans: prints whose sale conditions count in volume"),
    Family("volume", "filter", "Absolute volume", ("volume_1m", "volume_2m", "volume_5m", "volume_10m", "volume_15m", "volume_30m", "volume_60m", "volume_daily"), "sum of sizes over the window; daily = the sessions of the trading day", "shares", needs=("bars_1m", "live_bar", "session"), source="CTA and UTP plans: prints whose sale conditions count in volume"),
    Family("dollar_volume", "filter", "Absolute dollar volume", ("dollar_volume_1m", "dollar_volume_5m", "dollar_volume_15m", "dollar_volume_60m", "dollar_volume_daily"), "sum of price * size over the window", "usd", volume_threshold=10_000, needs=("bars_1m", "live_bar"), source="CTA and UTP plans: prints whose sale conditions count in volume"),
    Family("avg_volume", "filter", "Average daily volume", ("avg_volume_5d", "avg_volume_10d", "avg_volume_20d"), "mean(day.volume) of the last N completed trading days", "shares", sessions=EARLY, needs=("bars_1d",), days="{n} days", source="arithmetic mean"),
    Family("relative_volume", "filter", "Relative volume %", ("relative_volume_1m", "relative_volume_2m", "relative_volume_5m", "relative_volume_15m", "relative_volume_daily"), "100 * forecast of the running candle / mean volume of the 10 candles before; forecast = volume * timeframe / elapsed; daily: volume so far / mean of 10 days", "percent", volume_threshold=1_000, needs=("candles_tf", "live_bar", "clock", "bars_1d"), warm_up="10 candles of {tf}", days="10 days", source="Jetscan: no standard; a forecast makes a running candle comparable"),
    Family("relative_volume_same_time", "filter", "Relative volume % at same time", ("relative_volume_same_time",), "100 * volume since 04:00 / its mean at this minute of the last 10 days (fewer if fewer are known), half days with half days", "percent", volume_threshold=50_000, needs=("volume_profile_by_minute", "bars_1m_history"), warm_up="1 day of the same kind (full, half)", source="Jetscan: no standard; the same time of day takes out the shape of the day"),
    Family("price", "filter", "Price", ("price",), "last trade price", "usd", needs=("ticks",), source="CTA and UTP plans: prints whose sale conditions may set the last"),
    Family("change", "filter", "Change $", ("change_1m", "change_2m", "change_5m", "change_15m", "change_30m", "change_60m"), "price - close of the minute N minutes ago", "usd", volume_threshold=10_000, needs=("bars_1m", "ticks"), warm_up="{minutes} min since the first bar", source="Jetscan: minutes are the unit of windows"),
    Family("change_from_close", "filter", "Change from close", ("change_from_close", "change_from_close_pct"), "$: price - prev_day_close; %: that/prev_day_close*100", "usd|percent", volume_threshold=1_000, needs=("prev_day_close", "ticks"), warm_up="the close of the day before", source="the listing exchange's official close"),
    Family("change_from_close_premarket", "filter", "Change from close (premarket)", ("change_from_close_premarket", "change_from_close_premarket_pct"), "as change_from_close, only in premarket", "usd|percent", sessions=PRE, needs=("prev_day_close", "ticks", "session"), warm_up="the close of the day before", source="the listing exchange's official close"),
    Family("change_from_close_postmarket", "filter", "Change from close (postmarket)", ("change_from_close_postmarket", "change_from_close_postmarket_pct"), "$: price - today_close; %: that/today_close*100, only in postmarket", "usd|percent", sessions=POST, needs=("today_close", "ticks", "session"), warm_up="1 print of the regular session", source="the listing exchange's official close"),
    Family("change_from_open", "filter", "Change from open", ("change_from_open", "change_from_open_pct"), "$: price - today_open(09:30); %: that/today_open*100", "usd|percent", sessions=LATE, volume_threshold=10_000, needs=("today_open", "ticks"), warm_up="1 print since the open", source="the listing exchange's official open"),
    Family("change_pct", "filter", "Percentage change", ("change_pct_1m", "change_pct_2m", "change_pct_5m", "change_pct_10m", "change_pct_15m", "change_pct_30m", "change_pct_60m", "change_pct_2h", "change_pct_4h", "change_pct_2d", "change_pct_5d", "change_pct_10d", "change_pct_20d"), "100 * (price - p) / p, p = price N minutes or trading days ago", "percent", needs=("bars_1m", "bars_1d"), warm_up="{minutes} min since the first bar", days="{n} days", source="Jetscan: minutes are the unit of windows", aliases={"price_change_1m_pct": "change_pct_1m", "price_change_2m_pct": "change_pct_2m", "price_change_5m_pct": "change_pct_5m", "price_change_15m_pct": "change_pct_15m", "price_change_30m_pct": "change_pct_30m", "price_change_60m_pct": "change_pct_60m"}),
    Family("gap_from_close", "filter", "Gap from close", ("gap_from_close", "gap_from_close_pct"), "$: today_open - prev_day_close; %: that/prev_day_close*100", "usd|percent", sessions=EARLY, volume_threshold=75_000, needs=("prev_day_close", "today_open"), warm_up="the close of the day before, 1 print of the day", source="official open and close; before 09:30 the first print since 04:00"),
    Family("range", "filter", "Range $", ("range_2m", "range_5m", "range_10m", "range_15m", "range_30m", "range_60m", "range_today", "range_5d", "range_10d"), "max(high) - min(low) of the window, live minute or day included", "usd", needs=("bars_1m", "live_bar", "bars_1d"), warm_up="1 print in the window", days="{before} days", source="Jetscan: highest less lowest"),
    Family("range_pct", "filter", "Range %", ("range_pct_2m", "range_pct_5m", "range_pct_10m", "range_pct_15m", "range_pct_30m", "range_pct_60m", "range_pct_today", "range_pct_20d"), "100 * (high - low) / low of the window, live minute or day included", "percent", needs=("bars_1m", "live_bar", "bars_1d"), warm_up="1 print in the window", days="{before} days", source="Jetscan: of the low, as a rise from it"),
    Family("biggest_range", "filter", "Biggest range %", ("biggest_range_3m", "biggest_range_6m", "biggest_range_1y"), "max of 100 * (day high - day low) / day low over 63, 126, 252 days, today included", "percent", needs=("bars_1d",), days="{before} days", source="Jetscan: largest day, not the whole period"),
    Family("relative_range", "filter", "Relative range %", ("relative_range_pct",), "100 * today's range / atr_14_daily", "percent", volume_threshold=25_000, needs=("bars_1m", "bars_1d", "atr_14_daily"), warm_up="15 days, 1 print of the day", source="Wilder, New Concepts in Technical Trading Systems, 1978 (the ATR)"),
    Family("position_in_range", "filter", "Position in range %", ("position_in_range_2m", "position_in_range_5m", "position_in_range_15m", "position_in_range_30m", "position_in_range_60m", "position_in_range_today", "position_in_range_5d", "position_in_range_10d", "position_in_range_20d", "position_in_range_1y"), "100*(price-low)/(high-low) over tf; absent when high==low", "percent", volume_threshold=75_000, needs=("bars_1m", "live_bar", "bars_1d"), warm_up="2 prices in the window", days="{before} days", source="Lane, Lane's Stochastics, 1984 (raw %K)"),
    Family("rsi_14", "filter", "RSI(14)", ("rsi_14_1m", "rsi_14_2m", "rsi_14_5m", "rsi_14_15m", "rsi_14_daily"), "Wilder RSI(14) on closes of tf candles", "index 0..100", volume_threshold=50_000, needs=("candles_tf", "bars_1d"), warm_up="15 candles of {tf}", days="15 days", source="Wilder, New Concepts in Technical Trading Systems, 1978", aliases={"rsi_14": "rsi_14_1m"}),
    Family("atr_14", "filter", "ATR(14)", ("atr_14_1m", "atr_14_5m", "atr_14_daily"), "Wilder smoothing of the true range (first = high - low), seeded with the mean of 14", "usd", needs=("candles_tf", "bars_1d"), warm_up="15 candles of {tf}", days="15 days", source="Wilder, New Concepts in Technical Trading Systems, 1978", aliases={"atr_14": "atr_14_1m"}),
    Family("atrp_14", "filter", "ATRP(14)", ("atrp_14_1m", "atrp_14_5m", "atrp_14_daily"), "100*atr_14_tf/close", "percent", needs=("atr_14",), warm_up="15 candles of {tf}", days="15 days", source="Wilder, New Concepts in Technical Trading Systems, 1978; in percent: Forman, Cross-Market Evaluations with Normalized ATR, 2006"),
    Family("vwap_dist", "filter", "Distance from VWAP", ("vwap_dist", "vwap_dist_pct"), "price - session VWAP (signed); %: that / VWAP * 100", "usd|percent", volume_threshold=75_000, needs=("session_vwap", "ticks"), warm_up="1 print with volume", source="Berkowitz, Logue and Noser, The Total Cost of Transactions on the NYSE, 1988"),
    Family("ma_dist", "filter", "Distance from moving average", ("ma_dist_sma20_daily_pct", "ma_dist_sma10_daily_pct", "ma_dist_sma200_daily_pct", "ma_dist_ema20_1m_pct", "ma_dist_ema9_1m_pct", "ma_dist_ema9_5m_pct", "ma_dist_ema9_15m_pct", "ma_dist_ema21_15m_pct", "ma_dist_ema9_60m_pct", "ma_dist_ema21_60m_pct", "ma_dist_ema50_15m_pct", "ma_dist_ema50_daily_pct"), "100*(price-ma)/ma (signed)", "percent", volume_threshold=100_000, needs=("candles_tf", "bars_1d"), warm_up="{n} candles of {tf}", days="{n} days", source="Jetscan: signed, so that both sides rank"),
    Family("trade_count", "filter", "Trade count", ("trade_count_1m", "trade_count_2m", "trade_count_5m", "trade_count_15m", "trade_count_60m"), "number of trades in trailing tf", "count", needs=("ticks",), source="CTA and UTP plans: prints whose sale conditions count in volume"),
    Family("consecutive_candles", "filter", "Consecutive candles", ("consecutive_candles_1m", "consecutive_candles_2m", "consecutive_candles_5m", "consecutive_candles_15m", "consecutive_candles_daily"), "signed run length of same-colour closed candles of tf (+green, -red)", "count", volume_threshold=75_000, needs=("candles_tf", "bars_1d"), warm_up="1 candle of {tf}", days="1 day", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("minutes_in_market", "filter", "Minutes in market", ("minutes_in_market",), "floor(minutes since 09:30 ET); 09:45 => 15", "minutes", needs=("clock", "calendar"), source="calendar of the exchange (XNYS)"),
    Family("minutes_since_news", "filter", "Minutes since news", ("minutes_since_news",), "minutes since the last news of 24 hours", "minutes", needs=("news",), warm_up="the fact", source="Jetscan: a day is what a trader calls news"),
    Family("hours_since_news", "filter", "Hours since news", ("hours_since_news",), "hours since last relevant news, look-back 24h", "hours", sessions=EARLY, needs=("news",), warm_up="the fact", source="Jetscan: a day is what a trader calls news"),
    Family("days_since_news", "filter", "Days since news", ("days_since_news",), "days since last relevant news, look-back 3 days", "days", needs=("news",), warm_up="the fact", source="Jetscan: three days span a weekend"),
    Family("days_until_earnings", "filter", "Days until earnings", ("days_until_earnings",), "days until next earnings date", "days", needs=("earnings_calendar",), warm_up="the fact", source="the company's calendar, as supplied"),
    Family("institutional_ownership", "filter", "Institutional ownership", ("institutional_ownership_pct",), "100 * shares held by institutions / float, as supplied", "percent", sessions=EARLY, needs=("fundamentals",), warm_up="the fact", source="SEC Form 13F, as the supplier of reference data defines it"),
    Family("marketcap", "filter", "Market cap", ("marketcap",), "market capitalisation, as supplied", "usd", sessions=EARLY, needs=("fundamentals",), warm_up="the fact", source="as the supplier of reference data defines it"),
    Family("shares_outstanding", "filter", "Shares outstanding", ("shares_outstanding",), "shares outstanding, as supplied", "shares", needs=("fundamentals",), warm_up="the fact", source="as the supplier of reference data defines it"),
    Family("short_interest", "filter", "Short interest %", ("short_interest_pct",), "100 * shares short / float, as supplied", "percent", needs=("short_interest",), warm_up="the fact", source="FINRA Rule 4560, as the supplier of reference data defines it"),
    Family("short_ratio", "filter", "Short ratio (days to cover)", ("short_ratio",), "shares short / average daily volume, as supplied", "days", needs=("short_interest", "avg_daily_volume"), warm_up="the fact", source="FINRA Rule 4560, as the supplier of reference data defines it"),
    Family("float", "filter", "Float", ("float",), "shares available for trading, as supplied", "shares", needs=("fundamentals",), warm_up="the fact", source="as the supplier of reference data defines it"),
    Family("lower_shadow", "alert", "Lower shadow", ("lower_shadow_ratio_1m", "lower_shadow_ratio_2m", "lower_shadow_ratio_5m", "lower_shadow_ratio_15m"), "(min(open,close)-low)/body, body=|close-open|; absent when body=0", "ratio", volume_threshold=400_000, condition="> 2.0", needs=("candles_tf",), warm_up="1 candle of {tf} with a body", category="candlestick", params={"ratio": 2.0}, evaluate_on="candle_close", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("upper_shadow", "alert", "Upper shadow", ("upper_shadow_ratio_1m", "upper_shadow_ratio_2m", "upper_shadow_ratio_5m", "upper_shadow_ratio_15m"), "(high-max(open,close))/body, body=|close-open|; absent when body=0", "ratio", volume_threshold=400_000, condition="> 2.0", needs=("candles_tf",), warm_up="1 candle of {tf} with a body", category="candlestick", params={"ratio": 2.0}, evaluate_on="candle_close", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("bullish_candle_close", "alert", "Bullish candle close", ("is_bullish_candle_1m", "is_bullish_candle_2m", "is_bullish_candle_5m", "is_bullish_candle_15m"), "1 if close>open else 0", "flag", volume_threshold=10_000, condition="== 1", needs=("candles_tf",), warm_up="1 candle of {tf}", category="candlestick", evaluate_on="candle_close", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("bearish_candle_close", "alert", "Bearish candle close", ("is_bearish_candle_1m", "is_bearish_candle_2m", "is_bearish_candle_5m", "is_bearish_candle_15m"), "1 if close<open else 0", "flag", volume_threshold=75_000, condition="== 1", needs=("candles_tf",), warm_up="1 candle of {tf}", category="candlestick", evaluate_on="candle_close", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("bullish_engulfing", "alert", "Bullish engulfing", ("bullish_engulfing_1m", "bullish_engulfing_2m", "bullish_engulfing_5m", "bullish_engulfing_15m", "bullish_engulfing_30m", "bullish_engulfing_60m"), "prev red & cur green & cur_body>prev_body & open<prev_close & close>prev_open", "flag", volume_threshold=400_000, condition="== 1", needs=("candles_tf", "prev_candle"), warm_up="2 candles of {tf}", days="2 days", category="candlestick", evaluate_on="candle_close", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("bearish_engulfing", "alert", "Bearish engulfing", ("bearish_engulfing_1m", "bearish_engulfing_2m", "bearish_engulfing_5m", "bearish_engulfing_15m", "bearish_engulfing_30m", "bearish_engulfing_60m"), "prev green & cur red & cur_body>prev_body & open>prev_close & close<prev_open", "flag", volume_threshold=400_000, condition="== 1", needs=("candles_tf", "prev_candle"), warm_up="2 candles of {tf}", days="2 days", category="candlestick", evaluate_on="candle_close", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("bullish_harami", "alert", "Bullish harami", ("bullish_harami_1m", "bullish_harami_2m", "bullish_harami_5m", "bullish_harami_15m"), "prev red & cur green & cur_body<prev_body & prev_close<open & close<prev_open", "flag", volume_threshold=400_000, condition="== 1", needs=("candles_tf", "prev_candle"), warm_up="2 candles of {tf}", days="2 days", category="candlestick", evaluate_on="candle_close", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("bearish_harami", "alert", "Bearish harami", ("bearish_harami_1m", "bearish_harami_2m", "bearish_harami_5m", "bearish_harami_15m"), "prev green & cur red & cur_body<prev_body & open<prev_close & close>prev_open", "flag", volume_threshold=400_000, condition="== 1", needs=("candles_tf", "prev_candle"), warm_up="2 candles of {tf}", days="2 days", category="candlestick", evaluate_on="candle_close", source="Nison, Japanese Candlestick Charting Techniques, 1991"),
    Family("inside_bar", "alert", "Inside bar", ("inside_bar_5m", "inside_bar_15m", "inside_bar_30m", "inside_bar_60m", "inside_bar_4h", "inside_bar_1d"), "high<prev_high & low>prev_low (implies smaller range)", "flag", volume_threshold=75_000, condition="== 1", needs=("candles_tf", "prev_candle"), warm_up="2 candles of {tf}", days="2 days", category="candlestick", evaluate_on="candle_close", source="Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout, 1990"),
    Family("near_day_extreme", "alert", "Near high/low of day", ("dist_to_high_of_day_pct", "dist_to_low_of_day_pct"), "100 * distance to the high or low of the regular session / that", "percent", sessions=REGULAR, volume_threshold=25_000, condition="< 0.5", needs=("day_high_low", "ticks"), warm_up="1 print of the regular session", category="price_level", params={"proximity_pct": 0.5}, evaluate_on="tick", source="Jetscan: distance to an extreme, in percent of it"),
    Family("near_day_extreme_extended", "alert", "High/low of day incl. pre/post", ("dist_to_high_of_day_extended_pct", "dist_to_low_of_day_extended_pct"), "100 * distance to the high or low since 04:00 / that", "percent", volume_threshold=1_000, condition="< 0.5", needs=("day_high_low_extended", "ticks"), warm_up="1 print of the day", category="price_level", params={"proximity_pct": 0.5}, evaluate_on="tick", source="Jetscan: distance to an extreme, in percent of it"),
    Family("near_last_high", "alert", "Near last high", ("dist_to_recent_high_1m_pct", "dist_to_recent_high_2m_pct", "dist_to_recent_high_5m_pct", "dist_to_recent_high_15m_pct"), "100*(recent_high-price)/recent_high; recent_high = max high of last `lookback` candles of tf", "percent", sessions=REGULAR, volume_threshold=400_000, condition="< 0.1", needs=("rolling_high", "ticks"), warm_up="20 candles of {tf}", category="price_level", params={"proximity_pct": 0.1, "lookback": 20}, evaluate_on="tick", source="Jetscan: distance to an extreme, in percent of it"),
    Family("near_last_low", "alert", "Near last low", ("dist_to_recent_low_1m_pct", "dist_to_recent_low_2m_pct", "dist_to_recent_low_5m_pct", "dist_to_recent_low_15m_pct"), "100*(price-recent_low)/recent_low; recent_low = min low of last `lookback` candles of tf", "percent", sessions=REGULAR, volume_threshold=400_000, condition="< 0.1", needs=("rolling_low", "ticks"), warm_up="20 candles of {tf}", category="price_level", params={"proximity_pct": 0.1, "lookback": 20}, evaluate_on="tick", source="Jetscan: distance to an extreme, in percent of it"),
    Family("break_recent_high", "alert", "Break over recent high", ("broke_recent_high_1m", "broke_recent_high_2m", "broke_recent_high_5m", "broke_recent_high_15m", "broke_recent_high_4h"), "price > highest of the last 20 candles and of the running one before this print", "flag", sessions=REGULAR, volume_threshold=150_000, condition="== 1", needs=("rolling_high", "ticks"), warm_up="20 candles of {tf}", category="price_level", params={"lookback": 20}, evaluate_on="tick", source="Jetscan: 20 candles, the long channel of Donchian is 20 days"),
    Family("break_recent_low", "alert", "Break under recent low", ("broke_recent_low_1m", "broke_recent_low_2m", "broke_recent_low_5m", "broke_recent_low_15m"), "price < lowest of the last 20 candles and of the running one before this print", "flag", sessions=REGULAR, volume_threshold=400_000, condition="== 1", needs=("rolling_low", "ticks"), warm_up="20 candles of {tf}", category="price_level", params={"lookback": 20}, evaluate_on="tick", source="Jetscan: 20 candles, the long channel of Donchian is 20 days"),
    Family("reject_last_high", "alert", "Reject last high", ("rejected_recent_high_1m", "rejected_recent_high_2m", "rejected_recent_high_5m", "rejected_recent_high_15m", "rejected_recent_high_30m", "rejected_recent_high_60m"), "armed within 0.1 % of the recent high, 1 at the print 0.5 % below it", "flag", sessions=REGULAR, volume_threshold=1_000_000, condition="== 1", needs=("rolling_high", "ticks", "state_machine"), warm_up="20 candles of {tf}", category="price_level", params={"approach_pct": 0.1, "reject_pct": 0.5}, evaluate_on="tick", source="Jetscan: a state machine over prints"),
    Family("reject_last_low", "alert", "Reject last low", ("rejected_recent_low_1m", "rejected_recent_low_2m", "rejected_recent_low_5m", "rejected_recent_low_15m"), "armed within 0.1 % of the recent low, 1 at the print 0.5 % above it", "flag", sessions=REGULAR, volume_threshold=1_000_000, condition="== 1", needs=("rolling_low", "ticks", "state_machine"), warm_up="20 candles of {tf}", category="price_level", params={"approach_pct": 0.1, "reject_pct": 0.5}, evaluate_on="tick", source="Jetscan: a state machine over prints"),
    Family("new_candle_high", "alert", "New candle high", ("new_candle_high_1m", "new_candle_high_2m", "new_candle_high_5m", "new_candle_high_15m", "new_candle_high_30m", "new_candle_high_60m", "new_candle_high_4h", "new_candle_high_1d"), "last closed candle above the one before", "flag", volume_threshold=10_000, condition="== 1", needs=("candles_tf", "prev_candle"), warm_up="2 candles of {tf}", days="2 days", category="price_level", evaluate_on="candle_close", source="Jetscan: closed candles only"),
    Family("new_candle_low", "alert", "New candle low", ("new_candle_low_1m", "new_candle_low_2m", "new_candle_low_5m", "new_candle_low_15m", "new_candle_low_30m", "new_candle_low_60m", "new_candle_low_4h", "new_candle_low_1d"), "last closed candle below the one before", "flag", volume_threshold=10_000, condition="== 1", needs=("candles_tf", "prev_candle"), warm_up="2 candles of {tf}", days="2 days", category="price_level", evaluate_on="candle_close", source="Jetscan: closed candles only"),
    Family("through_vwap", "alert", "Through VWAP", ("through_vwap_above", "through_vwap_below"), "the last bar spans 3 times the mean of the 5 before and its body crosses the VWAP", "flag", volume_threshold=1_000_000, condition="== 1", needs=("session_vwap", "candles_1m"), warm_up="6 bars", category="vwap", params={"multiplier": 3.0, "n": 5}, evaluate_on="candle_close", source="Jetscan: wide bar and crossing together"),
    Family("vwap_support", "alert", "VWAP acts as support", ("vwap_support_1m", "vwap_support_2m", "vwap_support_5m", "vwap_support_15m"), "from above within 0.1 % of the VWAP, 1 at the print 0.2 % above it, within the timeframe", "flag", volume_threshold=1_000_000, condition="== 1", needs=("session_vwap", "state_machine"), warm_up="1 print with volume", category="vwap", params={"touch_pct": 0.1, "bounce_pct": 0.2}, evaluate_on="tick", source="Jetscan: a state machine over prints"),
    Family("vwap_resistance", "alert", "VWAP acts as resistance", ("vwap_resistance_1m", "vwap_resistance_2m", "vwap_resistance_5m", "vwap_resistance_15m"), "from below within 0.1 % of the VWAP, 1 at the print 0.2 % below it, within the timeframe", "flag", volume_threshold=1_000_000, condition="== 1", needs=("session_vwap", "state_machine"), warm_up="1 print with volume", category="vwap", params={"touch_pct": 0.1, "bounce_pct": 0.2}, evaluate_on="tick", source="Jetscan: a state machine over prints"),
    Family("back_to_ema", "alert", "Back to EMA", ("back_to_ema_ema9_1m", "back_to_ema_ema20_1m", "back_to_ema_ema200_1m", "back_to_ema_ema9_5m", "back_to_ema_ema20_5m", "back_to_ema_ema9_15m", "back_to_ema_ema21_15m"), "a candle closed more than 2 % away, 1 at the first print within 0.5 %", "flag", volume_threshold=1_000_000, condition="== 1", needs=("ema_tf", "state_machine"), warm_up="{n} candles of {tf}", category="moving_average", params={"away_pct": 2.0, "near_pct": 0.5}, evaluate_on="tick", source="Jetscan: a state machine over prints"),
    Family("crossing_above", "alert", "Crossing above", ("crossed_above_open", "crossed_above_close", "crossed_above_vwap", "crossed_above_ema20_2m", "crossed_above_ema9_5m", "crossed_above_ema9_15m", "crossed_above_ema21_15m", "crossed_above_ema9_60m", "crossed_above_ema21_60m", "crossed_above_ema9_daily", "crossed_above_ema21_daily", "crossed_above_ema50_daily", "crossed_above_sma200_daily"), "the price met strictly below the level, or on it after having been below, and this one strictly above", "flag", volume_threshold=400_000, condition="== 1", needs=("prev_price", "today_open", "prev_day_close", "session_vwap", "ema_tf", "sma_daily"), warm_up="{n} candles of {tf}, 1 print before", days="{n} days, 1 print before", category="moving_average", evaluate_on="tick", source="Jetscan: on the level is on no side"),
    Family("crossing_below", "alert", "Crossing below", ("crossed_below_open", "crossed_below_close", "crossed_below_vwap", "crossed_below_ema20_2m", "crossed_below_ema9_5m", "crossed_below_ema9_15m", "crossed_below_ema21_15m", "crossed_below_ema9_60m", "crossed_below_ema21_60m", "crossed_below_ema9_daily", "crossed_below_ema21_daily", "crossed_below_ema50_daily", "crossed_below_sma200_daily"), "the price met strictly above the level, or on it after having been above, and this one strictly below", "flag", volume_threshold=400_000, condition="== 1", needs=("prev_price", "today_open", "prev_day_close", "session_vwap", "ema_tf", "sma_daily"), warm_up="{n} candles of {tf}, 1 print before", days="{n} days, 1 print before", category="moving_average", evaluate_on="tick", source="Jetscan: on the level is on no side"),
    Family("volume_spike_2", "alert", "Volume spike (2)", ("volume_spike_2_1m", "volume_spike_2_2m", "volume_spike_2_5m", "volume_spike_2_15m"), "cur_candle.volume/mean(volume of previous 2 candles)", "ratio", volume_threshold=2_000, condition=">= 2.0", needs=("candles_tf", "live_bar"), warm_up="2 candles of {tf}", category="volume", params={"multiplier": 2.0}, evaluate_on="tick", source="Jetscan: no forecast, so it only grows within a candle"),
    Family("volume_spike_10", "alert", "Volume spike (10)", ("volume_spike_10_1m", "volume_spike_10_2m", "volume_spike_10_5m", "volume_spike_10_15m"), "cur_candle.volume/mean(volume of previous 10 candles)", "ratio", volume_threshold=10_000, condition=">= 2.0", needs=("candles_tf", "live_bar"), warm_up="10 candles of {tf}", category="volume", params={"multiplier": 2.0}, evaluate_on="tick", source="Jetscan: no forecast, so it only grows within a candle"),
    Family("running_up", "alert", "Running up (60s)", ("running_up_60s", "running_up_60s_pct"), "price - price_60s_ago; pct = that/price_60s_ago*100", "usd|percent", volume_threshold=1_000, condition=">= 1.5", needs=("tick_history_60s",), warm_up="a price 60 s old, of the same day", category="movement", params={"threshold": 1.5, "min": 0.5, "step": 0.1}, evaluate_on="tick", source="Jetscan: 60 s by the clock, not by prints"),
    Family("running_down", "alert", "Running down (60s)", ("running_down_60s", "running_down_60s_pct"), "price - price_60s_ago (negative); pct likewise", "usd|percent", volume_threshold=10_000, condition="<= -2.3", needs=("tick_history_60s",), warm_up="a price 60 s old, of the same day", category="movement", params={"threshold": 2.3, "min": 0.5, "step": 0.1}, evaluate_on="tick", source="Jetscan: 60 s by the clock, not by prints"),
    Family("opening_range_breakout", "alert", "Opening range breakout", ("opening_range_breakout_1m", "opening_range_breakout_2m", "opening_range_breakout_5m", "opening_range_breakout_15m", "opening_range_breakout_30m", "opening_range_breakout_60m"), "1 while the candle lasts that first went above the high of the first N minutes", "flag", sessions=REGULAR, volume_threshold=75_000, condition="== 1", needs=("opening_range",), warm_up="{minutes} min since the open", category="opening_range", evaluate_on="tick", source="Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout, 1990"),
    Family("opening_range_breakdown", "alert", "Opening range breakdown", ("opening_range_breakdown_1m", "opening_range_breakdown_2m", "opening_range_breakdown_5m", "opening_range_breakdown_15m", "opening_range_breakdown_30m", "opening_range_breakdown_60m"), "1 while the candle lasts that first went below the low of the first N minutes", "flag", sessions=REGULAR, volume_threshold=75_000, condition="== 1", needs=("opening_range",), warm_up="{minutes} min since the open", category="opening_range", evaluate_on="tick", source="Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout, 1990"),
)
# fmt: on

# What a name carries beside its own value.
PARTS = {
    "macd_12_26_9": ("macd_12_26_9_signal", "macd_12_26_9_histogram"),
    "bb_20_2.0": ("bb_20_2.0_upper", "bb_20_2.0_lower"),
    "stoch_14_3_3": ("stoch_14_3_3_d",),
}
# Of the best bid and offer; sizes in shares, times in seconds.
QUOTES = ("bid", "ask", "bid_size", "ask_size", "mid", "spread", "spread_pct", "locked_s", "crossed_s")  # fmt: skip
# Computed as well: for symmetry, for a toplist, of the price bands, of quotes.
HELPERS = (
    *("change_10m", "vwap_dist_5m_pct"),
    *("limit_state_s", "dist_to_limit_up_pct", "dist_to_limit_down_pct"),
    *QUOTES,
)

# fmt: off
MORE = (
    Family("part_macd", "part", "MACD: signal, histogram", PARTS["macd_12_26_9"], "EMA of 9 of macd_12_26_9; macd_12_26_9 less that", "usd", needs=("bars_1m",), warm_up="34 bars", category="trend", source="Appel, The Moving Average Convergence-Divergence Trading Method, 1979"),
    Family("part_bb", "part", "Bollinger: bands", PARTS["bb_20_2.0"], "bb_20_2.0 with 2 population standard deviations added; taken away", "usd", needs=("bars_1m",), warm_up="20 bars", category="volatility", source="Bollinger on Bollinger Bands, 2001"),
    Family("part_stoch", "part", "Stochastic: %D", PARTS["stoch_14_3_3"], "mean of 3 of stoch_14_3_3", "index 0..100", needs=("bars_1m",), warm_up="18 bars", category="momentum", source="Lane, Lane's Stochastics, 1984"),
    Family("helper_change", "helper", "Change $", ("change_10m",), "price - close of the minute 10 minutes ago", "usd", needs=("bars_1m", "ticks"), warm_up="10 min since the first bar", source="Jetscan: change_pct_10m in usd"),
    Family("helper_vwap", "helper", "Distance from VWAP of 5 minutes", ("vwap_dist_5m_pct",), "100 * (price - vwap_5m) / vwap_5m (signed)", "percent", needs=("bars_1m", "ticks"), warm_up="1 bar", source="Jetscan: what two toplists rank by"),
    Family("helper_band", "helper", "Price bands", ("limit_state_s", "dist_to_limit_up_pct", "dist_to_limit_down_pct"), "seconds at a band; 100 * distance to the band / band", "seconds|percent|percent", needs=("status", "ticks"), warm_up="a band", source="Limit Up-Limit Down plan"),
    Family("helper_quote", "helper", "Best bid and offer", QUOTES, "the newest quote; mid = half way, spread = ask - bid, in percent of mid; seconds locked (bid = ask), crossed (bid > ask)", "usd|usd|shares|shares|usd|usd|percent|seconds|seconds", needs=("quotes",), warm_up="1 quote", source="Regulation NMS Rule 610 (locked, crossed)"),
)
# fmt: on

FAMILY_OF = {name: family for family in FAMILIES for name in family.names}
ALIASES = {other: name for family in FAMILIES for other, name in family.aliases.items()}

TIMEFRAME = re.compile(r"_(60s|\d+m|\d+h|\d+d|1y|today|daily)(?:_pct)?$")
PERIOD = re.compile(r"(?:ema|sma|rsi)_?(\d+)")
DAYS_OF = {
    "2d": 2,
    "5d": 5,
    "10d": 10,
    "20d": 20,
    "3m": 63,
    "6m": 126,
    "1y": 252,
    "daily": 1,
    "1d": 1,
}
TITLES = {
    "gainers": "Top Gainers",
    "losers": "Top Losers",
    "volume": "Volume Leaders",
    "rsi_high": "RSI High",
    "rsi_low": "RSI Low",
    "relative_volume": "Relative Volume Leaders",
    "vwap_dist_high": "VWAP Distance High",
    "vwap_dist_low": "VWAP Distance Low",
}
LEVELS = {
    "open": "1 print of the regular session",
    "close": "the close of the day before",
    "vwap": "1 print with volume",
}


def timeframe_of(name: str) -> str:
    """The timeframe or window in a name: 5m, 60s, 20d, 1y, today, daily; empty where it has none."""
    found = TIMEFRAME.search(name)
    return found[1] if found else ""


def warm_up_of(family: Family, name: str) -> str:
    """What a name needs before it has a value.

    {tf} is its timeframe, {minutes} that in minutes, {n} its period or else its window in days, {before}
    and {after} one less and one more than {n}.
    """
    level = name.rpartition("_")[2]
    if name.startswith("crossed_") and level in LEVELS:
        return f"{LEVELS[level]}, 1 print before"
    window, period = timeframe_of(name), PERIOD.search(name)
    text = family.days if window in DAYS_OF and family.days else family.warm_up
    n = int(period[1]) if period else DAYS_OF.get(window, 0)
    unit = {"m": 1, "h": 60}.get(window[-1:], 0)
    minutes = int(window[:-1]) * unit if unit else 0
    return text.format(tf=window, minutes=minutes, n=n, before=n - 1, after=n + 1)


def unit_of(family: Family, name: str) -> str:
    """The unit of a name: of several, that at its place, `percent` for what ends with _pct."""
    units = family.unit.split("|")
    if len(units) == len(family.names):
        return units[family.names.index(name)]
    return units[-1 if name.endswith("_pct") else 0]


def row_of(family: Family, name: str) -> dict[str, object]:
    """Everything there is to say of a name."""
    unit = unit_of(family, name)
    return {
        "name": name,
        "kind": family.kind,
        "family": family.id,
        "title": family.title,
        "category": family.category,
        "formula": family.formula,
        "unit": unit,
        "value_type": {"percent": "%", "usd": "$"}.get(unit, ""),
        "timeframe": timeframe_of(name),
        "sessions": list(family.sessions),
        "volume_threshold": family.volume_threshold,
        "condition": family.condition,
        "params": dict(family.params),
        "evaluate_on": family.evaluate_on,
        "warm_up": warm_up_of(family, name),
        "needs": list(family.needs),
        "aliases": [other for other, one in family.aliases.items() if one == name],
        "source": family.source,
    }


def table() -> list[dict[str, object]]:
    """One row per name of the vocabulary, then of its parts and helpers."""
    return [row_of(family, name) for family in (*FAMILIES, *MORE) for name in family.names]


def named() -> dict[str, dict[str, object]]:
    """Rows by name, other names included."""
    rows = {str(row["name"]): row for row in table()}
    return rows | {
        other: {**rows[one], "name": other} for other, one in ALIASES.items() if other not in rows
    }


def toplists() -> Iterator[dict[str, object]]:
    """One row per system toplist: the metric it ranks by, and whether the highest comes first."""
    for name, (metric, is_falling) in LISTS.items():
        order = "highest first" if is_falling else "lowest first"
        title = TITLES[name.partition("_")[0] if name not in TITLES else name]
        window = name.rpartition("_")[2]
        title += f" ({window})" if name not in TITLES else ""
        yield {"name": name, "kind": "toplist", "title": title, "metric": metric, "order": order}
