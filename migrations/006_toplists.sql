-- Toplists: those of the system (user_id is null), then those of users.

CREATE TABLE toplist_configs (
    id text PRIMARY KEY,
    user_id text,
    name text NOT NULL,
    description text,
    metric text NOT NULL,
    time_window text NOT NULL,
    sort_order text NOT NULL,
    filters jsonb,
    columns jsonb,
    color_scheme jsonb,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON toplist_configs (user_id);
CREATE INDEX ON toplist_configs (enabled);
CREATE INDEX ON toplist_configs (created_at);
CREATE INDEX ON toplist_configs (user_id, enabled) WHERE user_id IS NOT NULL;

INSERT INTO toplist_configs (id, name, metric, time_window, sort_order) VALUES
    ('gainers_1m', 'Top Gainers (1m)', 'change_pct', '1m', 'desc'),
    ('gainers_5m', 'Top Gainers (5m)', 'change_pct', '5m', 'desc'),
    ('gainers_15m', 'Top Gainers (15m)', 'change_pct', '15m', 'desc'),
    ('gainers_1h', 'Top Gainers (1h)', 'change_pct', '1h', 'desc'),
    ('gainers_1d', 'Top Gainers (1d)', 'change_pct', '1d', 'desc'),
    ('losers_1m', 'Top Losers (1m)', 'change_pct', '1m', 'asc'),
    ('losers_5m', 'Top Losers (5m)', 'change_pct', '5m', 'asc'),
    ('losers_15m', 'Top Losers (15m)', 'change_pct', '15m', 'asc'),
    ('losers_1h', 'Top Losers (1h)', 'change_pct', '1h', 'asc'),
    ('losers_1d', 'Top Losers (1d)', 'change_pct', '1d', 'asc'),
    ('volume_1m', 'Volume Leaders (1m)', 'volume', '1m', 'desc'),
    ('volume_5m', 'Volume Leaders (5m)', 'volume', '5m', 'desc'),
    ('volume_15m', 'Volume Leaders (15m)', 'volume', '15m', 'desc'),
    ('volume_1h', 'Volume Leaders (1h)', 'volume', '1h', 'desc'),
    ('volume_1d', 'Volume Leaders (1d)', 'volume', '1d', 'desc'),
    ('rsi_high', 'RSI High', 'rsi', '1m', 'desc'),
    ('rsi_low', 'RSI Low', 'rsi', '1m', 'asc'),
    ('relative_volume', 'Relative Volume Leaders', 'relative_volume', '15m', 'desc'),
    ('vwap_dist_high', 'VWAP Distance High', 'vwap_dist', '5m', 'desc'),
    ('vwap_dist_low', 'VWAP Distance Low', 'vwap_dist', '5m', 'asc')
ON CONFLICT (id) DO NOTHING;
