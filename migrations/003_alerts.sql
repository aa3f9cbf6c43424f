-- Every alert that was said, and what became of telling people.

CREATE TABLE alert_history (
    id text NOT NULL,
    rule_id text NOT NULL,
    rule_name text NOT NULL,
    symbol text NOT NULL,
    timestamp timestamptz NOT NULL,
    price numeric NOT NULL,
    message text,
    metadata jsonb,
    trace_id text,
    created_at timestamptz DEFAULT now(),
    ts_ns bigint NOT NULL,
    number bigint,
    kind text,
    strength double precision,
    explain jsonb,
    causes jsonb,
    withdrawn_at timestamptz,
    withdrawn_reason text,
    PRIMARY KEY (id, timestamp)
);
COMMENT ON TABLE alert_history IS 'alerts.filtered; ts_ns is exact where timestamp has microseconds';
CREATE INDEX ON alert_history (rule_id, timestamp DESC);
CREATE INDEX ON alert_history (timestamp DESC);
CREATE INDEX ON alert_history (symbol, timestamp DESC);
CREATE INDEX ON alert_history (number);
CALL make_time_table('alert_history', 'month', '400 days');

CREATE TABLE deliveries (
    delivery_id text NOT NULL,
    timestamp timestamptz NOT NULL,
    alert_id text NOT NULL,
    user_id text NOT NULL,
    channel text NOT NULL,
    outcome text NOT NULL,
    status integer,
    tries integer NOT NULL DEFAULT 1,
    reason text,
    PRIMARY KEY (delivery_id, timestamp)
);
COMMENT ON TABLE deliveries IS 'One row per attempt that ended to tell one user of one alert on one channel';
CREATE INDEX ON deliveries (alert_id);
CREATE INDEX ON deliveries (user_id, timestamp DESC);
CALL make_time_table('deliveries', 'month', '90 days');
