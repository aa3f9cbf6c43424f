-- What is known of symbols beside their ticks: who they are, splits, renames, fundamentals, earnings, news.

CREATE TABLE symbols (
    symbol text NOT NULL,
    active_from date NOT NULL DEFAULT '-infinity',
    active_to date,
    name text,
    exchange text,
    type text,
    PRIMARY KEY (symbol, active_from),
    CHECK (symbol <> ''),
    CHECK (active_to IS NULL OR active_to >= active_from)
);
COMMENT ON TABLE symbols IS 'Who had a symbol and when: active_to is its last day, null = still active';

CREATE TABLE splits (
    symbol text NOT NULL CHECK (symbol <> ''),
    day date NOT NULL,
    factor double precision NOT NULL CHECK (factor > 0 AND factor < 'infinity'),
    PRIMARY KEY (symbol, day)
);
COMMENT ON TABLE splits IS 'factor scales the prices of the days before: a 2:1 split = 0.5';

CREATE TABLE renames (
    symbol text NOT NULL CHECK (symbol <> ''),
    day date NOT NULL,
    new_symbol text NOT NULL CHECK (new_symbol <> ''),
    PRIMARY KEY (symbol, day),
    CHECK (new_symbol <> symbol)
);
COMMENT ON TABLE renames IS 'From this day on symbol is called new_symbol';

CREATE TABLE fundamentals (
    symbol text NOT NULL CHECK (symbol <> ''),
    name text NOT NULL CHECK (name <> ''),
    known_at timestamptz NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (symbol, name, known_at)
);
COMMENT ON TABLE fundamentals IS 'Facts with the time they became known: float, marketcap, ...; the newest not after a time holds';

CREATE TABLE earnings (
    symbol text NOT NULL CHECK (symbol <> ''),
    timestamp timestamptz NOT NULL,
    PRIMARY KEY (symbol, timestamp)
);
CREATE INDEX ON earnings (timestamp);
COMMENT ON TABLE earnings IS 'When earnings are or were reported';

CREATE TABLE news_times (
    symbol text NOT NULL CHECK (symbol <> ''),
    timestamp timestamptz NOT NULL,
    id text NOT NULL DEFAULT '',
    PRIMARY KEY (symbol, timestamp, id)
);
COMMENT ON TABLE news_times IS 'When news of a symbol came; id is the feed''s, empty = it tells none';
CALL make_time_table('news_times', 'month', '2 years');
