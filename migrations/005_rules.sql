-- Rules as their owners wrote them.

CREATE TABLE rules (
    id text PRIMARY KEY,
    name text NOT NULL,
    description text,
    conditions jsonb NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1
);
CREATE INDEX ON rules (enabled) WHERE enabled;
CREATE INDEX ON rules (created_at DESC);
CREATE INDEX ON rules (updated_at DESC);
