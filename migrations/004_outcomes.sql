-- What the price did after each alert. functions/market/outcomes.py defines every column.

CREATE TABLE outcomes (
    alert_id text PRIMARY KEY,
    rule_id text NOT NULL,
    rule_name text NOT NULL,
    symbol text NOT NULL,
    timestamp timestamptz NOT NULL,
    ts_ns bigint NOT NULL,
    price double precision NOT NULL,
    minute_1m timestamptz NOT NULL,
    minute_5m timestamptz NOT NULL,
    minute_15m timestamptz NOT NULL,
    minute_60m timestamptz NOT NULL,
    begins timestamptz NOT NULL,
    ends timestamptz NOT NULL,
    stage smallint NOT NULL DEFAULT 0,
    return_1m_pct double precision,
    return_5m_pct double precision,
    return_15m_pct double precision,
    return_60m_pct double precision,
    return_close_pct double precision,
    best_pct double precision,
    worst_pct double precision
);
COMMENT ON COLUMN outcomes.stage IS '0 its day is not over, 1 it is over, 2 its bars can change no more';
CREATE INDEX ON outcomes (rule_id, timestamp DESC);
CREATE INDEX ON outcomes (symbol) WHERE stage < 2;
CREATE INDEX ON outcomes (ends) WHERE stage < 2;

-- Write anew what bars_1m says of these alerts; the last three only of those whose day is over.
CREATE FUNCTION judge_outcomes(ids text[]) RETURNS void LANGUAGE sql AS $$
    UPDATE outcomes AS o SET
        return_1m_pct = found.at_1m,
        return_5m_pct = found.at_5m,
        return_15m_pct = found.at_15m,
        return_60m_pct = found.at_60m,
        return_close_pct = CASE WHEN o.stage > 0 THEN found.at_close END,
        best_pct = CASE WHEN o.stage > 0 THEN found.best END,
        worst_pct = CASE WHEN o.stage > 0 THEN found.worst END
    FROM (
        SELECT
            a.alert_id,
            max((b.close / a.price - 1) * 100) FILTER (WHERE b.timestamp = a.minute_1m) AS at_1m,
            max((b.close / a.price - 1) * 100) FILTER (WHERE b.timestamp = a.minute_5m) AS at_5m,
            max((b.close / a.price - 1) * 100) FILTER (WHERE b.timestamp = a.minute_15m) AS at_15m,
            max((b.close / a.price - 1) * 100) FILTER (WHERE b.timestamp = a.minute_60m) AS at_60m,
            (array_agg((b.close / a.price - 1) * 100 ORDER BY b.timestamp DESC)
                FILTER (WHERE b.timestamp >= a.begins AND b.timestamp < a.ends))[1] AS at_close,
            (max(b.high) FILTER (WHERE b.timestamp >= a.begins AND b.timestamp < a.ends) / a.price - 1) * 100 AS best,
            (min(b.low) FILTER (WHERE b.timestamp >= a.begins AND b.timestamp < a.ends) / a.price - 1) * 100 AS worst
        FROM outcomes AS a
        LEFT JOIN bars_1m AS b ON b.symbol = a.symbol
            AND b.timestamp >= a.begins AND b.timestamp < greatest(a.ends, a.minute_60m + interval '1 minute')
        WHERE a.alert_id = ANY (ids)
        GROUP BY a.alert_id, a.price, a.begins, a.ends, a.minute_1m, a.minute_5m, a.minute_15m, a.minute_60m
    ) AS found
    WHERE o.alert_id = found.alert_id
$$;

-- These bars have come: fill in the horizons that end in them.
CREATE FUNCTION fill_outcomes(symbols text[], minutes timestamptz[], closes double precision[]) RETURNS void
LANGUAGE sql AS $$
    UPDATE outcomes AS o SET
        return_1m_pct = coalesce(found.at_1m, o.return_1m_pct),
        return_5m_pct = coalesce(found.at_5m, o.return_5m_pct),
        return_15m_pct = coalesce(found.at_15m, o.return_15m_pct),
        return_60m_pct = coalesce(found.at_60m, o.return_60m_pct)
    FROM (
        SELECT
            o.alert_id,
            max((b.close / o.price - 1) * 100) FILTER (WHERE b.at = o.minute_1m) AS at_1m,
            max((b.close / o.price - 1) * 100) FILTER (WHERE b.at = o.minute_5m) AS at_5m,
            max((b.close / o.price - 1) * 100) FILTER (WHERE b.at = o.minute_15m) AS at_15m,
            max((b.close / o.price - 1) * 100) FILTER (WHERE b.at = o.minute_60m) AS at_60m
        FROM outcomes AS o
        JOIN unnest(symbols, minutes, closes) AS b (symbol, at, close)
            ON b.symbol = o.symbol AND b.at IN (o.minute_1m, o.minute_5m, o.minute_15m, o.minute_60m)
        WHERE o.stage < 2
        GROUP BY o.alert_id
    ) AS found
    WHERE o.alert_id = found.alert_id
$$;

-- Bars have come up to a minute: days that are over are judged whole, and once more when bars of that
-- day can change no more (an hour later).
CREATE FUNCTION close_outcomes(newest timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    ids text[];
BEGIN
    WITH due AS (
        SELECT alert_id FROM outcomes
        WHERE (stage = 0 AND ends <= newest - interval '1 minute')
            OR (stage = 1 AND ends <= newest - interval '65 minutes')
        ORDER BY alert_id LIMIT 5000 FOR UPDATE SKIP LOCKED
    ), closed AS (
        UPDATE outcomes AS o
        SET stage = CASE WHEN o.ends <= newest - interval '65 minutes' THEN 2 ELSE 1 END
        FROM due WHERE o.alert_id = due.alert_id RETURNING o.alert_id
    )
    SELECT array_agg(alert_id) INTO ids FROM closed;
    PERFORM judge_outcomes(ids);
    RETURN coalesce(cardinality(ids), 0);
END
$$;

-- Alerts that were withdrawn have no outcome, whichever of the two was written first.
CREATE TABLE withdrawals (
    alert_id text PRIMARY KEY
);
COMMENT ON TABLE withdrawals IS 'Alerts whose print was cancelled, or corrected so that their rule was not true';

CREATE FUNCTION withdraw_outcomes(ids text[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO withdrawals SELECT DISTINCT unnest(ids) ON CONFLICT (alert_id) DO NOTHING
$$;

-- Percent of the alert's price, seen by a buyer: a hit is a return above zero.
CREATE VIEW rule_outcomes AS
SELECT
    rule_id,
    min(rule_name) AS rule_name,
    count(*) AS alerts,
    count(DISTINCT symbol) AS symbols,
    count(return_1m_pct) AS known_1m,
    avg((return_1m_pct > 0)::int)::float8 * 100 AS hits_1m_pct,
    avg(return_1m_pct) AS mean_1m_pct,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY return_1m_pct) AS median_1m_pct,
    count(return_5m_pct) AS known_5m,
    avg((return_5m_pct > 0)::int)::float8 * 100 AS hits_5m_pct,
    avg(return_5m_pct) AS mean_5m_pct,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY return_5m_pct) AS median_5m_pct,
    count(return_15m_pct) AS known_15m,
    avg((return_15m_pct > 0)::int)::float8 * 100 AS hits_15m_pct,
    avg(return_15m_pct) AS mean_15m_pct,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY return_15m_pct) AS median_15m_pct,
    count(return_60m_pct) AS known_60m,
    avg((return_60m_pct > 0)::int)::float8 * 100 AS hits_60m_pct,
    avg(return_60m_pct) AS mean_60m_pct,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY return_60m_pct) AS median_60m_pct,
    count(return_close_pct) AS known_close,
    avg((return_close_pct > 0)::int)::float8 * 100 AS hits_close_pct,
    avg(return_close_pct) AS mean_close_pct,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY return_close_pct) AS median_close_pct,
    max(best_pct) AS best_pct,
    min(worst_pct) AS worst_pct
FROM outcomes
WHERE alert_id NOT IN (SELECT alert_id FROM withdrawals)
GROUP BY rule_id;
