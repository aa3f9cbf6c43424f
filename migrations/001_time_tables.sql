-- Tables that grow with time: hypertables where TimescaleDB is, partitions of PostgreSQL elsewhere.
-- A table is made as usual, with a column "timestamp", and handed to make_time_table.

CREATE TABLE time_tables (
    name text PRIMARY KEY,
    step text NOT NULL CHECK (step IN ('day', 'month')),
    keep interval
);
COMMENT ON TABLE time_tables IS 'How long each table keeps its rows: UPDATE time_tables SET keep = ''30 days'' WHERE name = ''bars_1m''; null = for ever';

CREATE FUNCTION has_timescale() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        AND current_setting('shared_preload_libraries') LIKE '%timescaledb%'
    THEN
        CREATE EXTENSION IF NOT EXISTS timescaledb;
    END IF;
END
$$;

-- The rows that fit into no partition lie in NAME_other.
CREATE PROCEDURE make_time_table(of text, step text, keep interval) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO time_tables VALUES (of, step, keep);
    IF has_timescale() THEN
        PERFORM create_hypertable(of::regclass, 'timestamp',
            chunk_time_interval => ('1 ' || step)::interval, create_default_indexes => false);
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', of, of || '_shape');
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE (timestamp)', of, of || '_shape');
    EXECUTE format('DROP TABLE %I', of || '_shape');
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', of || '_other', of);
    EXECUTE format('CREATE INDEX ON %I USING brin (timestamp)', of);
END
$$;

-- The partition that begins at a time; what of it lies in NAME_other moves over. False: it was there.
CREATE FUNCTION make_partition(of text, begins timestamptz, ends timestamptz) RETURNS boolean
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    child text := of || to_char(begins, '_YYYYMMDD');
BEGIN
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- One maker at a time, and no writer between the move and the attachment.
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', of || '_other');
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, of);
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I WHERE timestamp >= %L AND timestamp < %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', of || '_other', begins, ends, child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', of, child, begins, ends);
    RETURN true;
END
$$;

-- When the partitions of a table begin, oldest first.
CREATE FUNCTION partitions_of(of text) RETURNS TABLE (child text, begins timestamptz)
LANGUAGE sql STABLE SET timezone = 'UTC' AS $$
    SELECT relname::text, to_date(right(relname, 8), 'YYYYMMDD')::timestamptz
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = to_regclass(quote_ident(of)) AND relname ~ '_\d{8}$'
    ORDER BY 2
$$;

-- What is older than time_tables.keep goes. "Now" is the newest time in the table, never later than the
-- wall clock's: a replay of last year keeps its days, and a time in the future removes nothing.
CREATE FUNCTION drop_old(of text) RETURNS integer LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    policy time_tables;
    oldest timestamptz;
    old record;
    dropped integer := 0;
BEGIN
    SELECT * INTO policy FROM time_tables WHERE name = of;
    -- The newest partition was made ahead.
    SELECT least(now(), max(begins) - ('1 ' || policy.step)::interval) - policy.keep INTO oldest
    FROM partitions_of(of);
    IF oldest IS NULL THEN
        RETURN 0;
    END IF;
    FOR old IN SELECT * FROM partitions_of(of) WHERE begins + ('1 ' || policy.step)::interval <= oldest LOOP
        EXECUTE format('DROP TABLE %I', old.child);
        dropped := dropped + 1;
    END LOOP;
    EXECUTE format('DELETE FROM %I WHERE timestamp < %L', of || '_other', oldest);
    RETURN dropped;
END
$$;

-- Room for rows of these times: their partitions and the next ones. Called with every batch, it costs a
-- look into the catalogue; where a partition was made, old ones are dropped. Times before 1990 or after
-- 2100 are nobody's and get none.
CREATE FUNCTION make_room(of text, moments timestamptz[]) RETURNS integer
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    stride text;
    one timestamptz;
    made integer := 0;
BEGIN
    IF has_timescale() THEN
        RETURN 0;
    END IF;
    SELECT step INTO STRICT stride FROM time_tables WHERE name = of;
    FOR one IN
        SELECT DISTINCT date_trunc(stride, moment, 'UTC') FROM unnest(moments) AS moment
        WHERE moment >= '1990-01-01' AND moment < '2100-01-01' ORDER BY 1 LIMIT 64
    LOOP
        made := made + make_partition(of, one, one + ('1 ' || stride)::interval)::integer;
        made := made + make_partition(of, one + ('1 ' || stride)::interval, one + ('2 ' || stride)::interval)::integer;
    END LOOP;
    IF made > 0 THEN
        PERFORM drop_old(of);
    END IF;
    RETURN made;
END
$$;
