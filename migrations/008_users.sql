-- Who may call: accounts, how they sign in, what they hold, and what they changed.

CREATE TABLE users (
    id text PRIMARY KEY,
    name text NOT NULL DEFAULT '',
    email text NOT NULL DEFAULT '',
    roles text[] NOT NULL DEFAULT '{trader}',
    password_hash text,
    is_disabled boolean NOT NULL DEFAULT false,
    tokens_from timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz
);
COMMENT ON COLUMN users.password_hash IS 'argon2id; null: this account has no password';
COMMENT ON COLUMN users.tokens_from IS 'tokens issued before are refused; null: none was revoked';
COMMENT ON COLUMN users.seen_at IS 'the last sign-in';

CREATE TABLE identities (
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);
COMMENT ON TABLE identities IS 'Accounts of an OpenID provider, by what it calls them';
CREATE INDEX ON identities (user_id);

CREATE TABLE sign_ins (
    id text PRIMARY KEY,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    reason text
);
COMMENT ON TABLE sign_ins IS 'A sign-in and every token that follows from it; revoked, all of them are refused';
CREATE INDEX ON sign_ins (user_id);
CREATE INDEX ON sign_ins (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE refresh_tokens (
    hash bytea PRIMARY KEY,
    sign_in text NOT NULL REFERENCES sign_ins ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz
);
COMMENT ON TABLE refresh_tokens IS 'SHA-256 of tokens of 256 random bits; one that comes again after it was used ends its sign-in';
CREATE INDEX ON refresh_tokens (sign_in);

CREATE TABLE api_keys (
    id text PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    user_id text NOT NULL,
    name text NOT NULL,
    roles text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
COMMENT ON COLUMN api_keys.user_id IS 'no reference: users of tokens from outside have no account here';
CREATE INDEX ON api_keys (user_id);

-- Gateways hold who may call in memory and read it again when this number changes.
CREATE TABLE access_version (
    number bigint NOT NULL
);
INSERT INTO access_version VALUES (1);

CREATE FUNCTION count_access_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE access_version SET number = number + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER access_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF id, roles, is_disabled, tokens_from ON users
    FOR EACH STATEMENT EXECUTE FUNCTION count_access_change();
CREATE TRIGGER access_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION count_access_change();
CREATE TRIGGER access_changed AFTER UPDATE OF revoked_at ON sign_ins
    FOR EACH STATEMENT EXECUTE FUNCTION count_access_change();

CREATE TABLE audit_log (
    id text NOT NULL,
    timestamp timestamptz NOT NULL,
    user_id text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    address text NOT NULL DEFAULT '',
    request_id text NOT NULL DEFAULT '',
    PRIMARY KEY (id, timestamp)
);
CREATE INDEX ON audit_log (user_id, timestamp DESC);
CREATE INDEX ON audit_log (action, timestamp DESC);
CALL make_time_table('audit_log', 'month', '400 days');

DO $$
BEGIN
    IF has_timescale() THEN
        PERFORM add_retention_policy('audit_log', INTERVAL '400 days');
    END IF;
END
$$;
