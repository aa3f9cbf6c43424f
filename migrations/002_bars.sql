-- Minute bars, the indicators of each, official days, and views of hours and days.

CREATE TABLE bars_1m (
    symbol text NOT NULL,
    timestamp timestamptz NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    vwap double precision,
    count bigint NOT NULL DEFAULT 0,
    revision integer NOT NULL DEFAULT 0,
    PRIMARY KEY (symbol, timestamp)
);
COMMENT ON TABLE bars_1m IS 'bars.final: the newest revision of each minute; timestamp is its start';
CALL make_time_table('bars_1m', 'day', '90 days');

CREATE TABLE indicators (
    symbol text NOT NULL,
    timestamp timestamptz NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    ema_9 double precision,
    ema_12 double precision,
    ema_20 double precision,
    ema_21 double precision,
    ema_26 double precision,
    ema_50 double precision,
    ema_200 double precision,
    sma_10 double precision,
    sma_20 double precision,
    sma_50 double precision,
    sma_200 double precision,
    rsi_9 double precision,
    rsi_14 double precision,
    rsi_21 double precision,
    macd double precision,
    macd_signal double precision,
    macd_histogram double precision,
    atr_14 double precision,
    bb_mid double precision,
    bb_upper double precision,
    bb_lower double precision,
    stoch_k double precision,
    stoch_d double precision,
    vwap_5m double precision,
    vwap_15m double precision,
    vwap_1h double precision,
    volume_avg_5m double precision,
    volume_avg_15m double precision,
    volume_avg_1h double precision,
    PRIMARY KEY (symbol, timestamp)
);
COMMENT ON TABLE indicators IS 'indicators: values with the bar of each minute; null = not known yet';
CALL make_time_table('indicators', 'day', '7 days');

CREATE TABLE daily_bars (
    symbol text NOT NULL,
    day date NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    factor double precision,
    PRIMARY KEY (symbol, day)
);
COMMENT ON TABLE daily_bars IS 'ticks.daily: official bars as they traded; factor scales prices for the next day';
CREATE INDEX ON daily_bars (day);

CREATE VIEW bars_1h AS
SELECT
    symbol,
    date_trunc('hour', timestamp, 'UTC') AS timestamp,
    (array_agg(open ORDER BY timestamp))[1] AS open,
    max(high) AS high,
    min(low) AS low,
    (array_agg(close ORDER BY timestamp DESC))[1] AS close,
    sum(volume) AS volume,
    sum(vwap * volume) / nullif(sum(volume) FILTER (WHERE vwap IS NOT NULL), 0) AS vwap,
    sum(count)::bigint AS count
FROM bars_1m
GROUP BY symbol, date_trunc('hour', timestamp, 'UTC');

CREATE VIEW bars_1d AS
SELECT
    symbol,
    date_trunc('day', timestamp, 'America/New_York') AS timestamp,
    (array_agg(open ORDER BY timestamp))[1] AS open,
    max(high) AS high,
    min(low) AS low,
    (array_agg(close ORDER BY timestamp DESC))[1] AS close,
    sum(volume) AS volume,
    sum(vwap * volume) / nullif(sum(volume) FILTER (WHERE vwap IS NOT NULL), 0) AS vwap,
    sum(count)::bigint AS count
FROM bars_1m
GROUP BY symbol, date_trunc('day', timestamp, 'America/New_York');
COMMENT ON VIEW bars_1d IS 'Every minute of a date in New York, sessions before and after the market included';
