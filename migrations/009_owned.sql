-- What belongs to users: watchlists, preferences, profiles, and what their rules were.

CREATE TABLE watchlists (
    user_id text NOT NULL,
    id text NOT NULL,
    name text NOT NULL,
    symbols text[] NOT NULL DEFAULT '{}',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, id)
);
COMMENT ON TABLE watchlists IS 'No reference to users: those of tokens from outside have no account here';
COMMENT ON COLUMN watchlists.id IS 'of the user: everybody may have one called mine';

CREATE TABLE preferences (
    user_id text PRIMARY KEY,
    body jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN preferences.body IS 'whatever the page keeps: layout, colours, sounds';

CREATE TABLE user_profiles (
    user_id text PRIMARY KEY,
    body jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE user_profiles IS 'What users say of themselves: name, email and whatever else';

CREATE TABLE rule_versions (
    rule_id text NOT NULL,
    version integer NOT NULL,
    user_id text NOT NULL,
    rule jsonb NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (rule_id, version)
);
COMMENT ON COLUMN rule_versions.user_id IS 'whose rule it was; empty: it came with the functions';
CREATE INDEX ON rule_versions (user_id);
