-- requires: timescaledb
-- Compression, retention and continuous aggregates: what make_room and the views do elsewhere.

SELECT add_retention_policy(name::regclass, keep) FROM time_tables WHERE keep IS NOT NULL;

DO $$
BEGIN
    -- The Apache edition has neither compression nor continuous aggregates: the views stay.
    IF current_setting('timescaledb.license') <> 'timescale' THEN
        RETURN;
    END IF;
    ALTER TABLE bars_1m SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol', timescaledb.compress_orderby = 'timestamp');
    ALTER TABLE indicators SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol', timescaledb.compress_orderby = 'timestamp');
    PERFORM add_compression_policy('bars_1m', INTERVAL '2 days');
    PERFORM add_compression_policy('indicators', INTERVAL '2 days');
    DROP VIEW bars_1h;
    DROP VIEW bars_1d;
    CREATE MATERIALIZED VIEW bars_1h WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
    SELECT
        symbol,
        time_bucket(INTERVAL '1 hour', timestamp) AS timestamp,
        first(open, timestamp) AS open,
        max(high) AS high,
        min(low) AS low,
        last(close, timestamp) AS close,
        sum(volume) AS volume,
        sum(vwap * volume) / nullif(sum(volume) FILTER (WHERE vwap IS NOT NULL), 0) AS vwap,
        sum(count)::bigint AS count
    FROM bars_1m
    GROUP BY 1, 2
    WITH NO DATA;
    CREATE MATERIALIZED VIEW bars_1d WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
    SELECT
        symbol,
        time_bucket(INTERVAL '1 day', timestamp, 'America/New_York') AS timestamp,
        first(open, timestamp) AS open,
        max(high) AS high,
        min(low) AS low,
        last(close, timestamp) AS close,
        sum(volume) AS volume,
        sum(vwap * volume) / nullif(sum(volume) FILTER (WHERE vwap IS NOT NULL), 0) AS vwap,
        sum(count)::bigint AS count
    FROM bars_1m
    GROUP BY 1, 2
    WITH NO DATA;
    PERFORM add_continuous_aggregate_policy('bars_1h', INTERVAL '3 days', INTERVAL '1 hour', INTERVAL '30 minutes');
    PERFORM add_continuous_aggregate_policy('bars_1d', INTERVAL '7 days', INTERVAL '1 day', INTERVAL '1 hour');
END
$$;
