-- Alerts that were withdrawn have no outcome, whichever of the two was written first.

CREATE TABLE withdrawals (
    alert_id text PRIMARY KEY
);
COMMENT ON TABLE withdrawals IS 'Alerts whose print was cancelled, or corrected so that their rule was not true';

CREATE FUNCTION withdraw_outcomes(ids text[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO withdrawals SELECT DISTINCT unnest(ids) ON CONFLICT (alert_id) DO NOTHING
$$;

CREATE OR REPLACE VIEW rule_outcomes AS
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
