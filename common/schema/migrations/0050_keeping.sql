-- How long what is kept, and readings by the minute and by the hour.

-- A reading's third time beside captured_at and received_at: when the statement that wrote it began, by the
-- database's clock; its transaction's commit followed within the batch. Null: from before this was written down.
-- The default costs nothing on the wire, since COPY fills it in.
ALTER TABLE reading ADD COLUMN committed_at timestamptz;
ALTER TABLE reading ALTER COLUMN committed_at SET DEFAULT statement_timestamp();
ALTER TABLE observation ADD COLUMN committed_at timestamptz;
ALTER TABLE observation ALTER COLUMN committed_at SET DEFAULT statement_timestamp();

-- Of the readings of a series that were captured within a minute. Implausible ones (flag 2) are counted and left
-- out: one wild value would spoil the minute, the hour and every chart. All null where only such came.
CREATE TABLE reading_minute (
    bucket       timestamptz NOT NULL,           -- when the minute began
    series_id    integer NOT NULL,
    count        integer NOT NULL,
    implausible  integer NOT NULL,
    sum          double precision,
    min          double precision,
    max          double precision,
    first        double precision,
    first_at     timestamptz,
    last         double precision,
    last_at      timestamptz
);
SELECT create_hypertable('reading_minute', by_range('bucket', INTERVAL '7 days'), create_default_indexes => false);
CREATE UNIQUE INDEX reading_minute_series ON reading_minute (series_id, bucket DESC);

-- The same by the hour, made of the minutes once the hour is over.
CREATE TABLE reading_hour (
    bucket       timestamptz NOT NULL,
    series_id    integer NOT NULL,
    count        integer NOT NULL,
    implausible  integer NOT NULL,
    sum          double precision,
    min          double precision,
    max          double precision,
    first        double precision,
    first_at     timestamptz,
    last         double precision,
    last_at      timestamptz
);
SELECT create_hypertable('reading_hour', by_range('bucket', INTERVAL '90 days'), create_default_indexes => false);
CREATE UNIQUE INDEX reading_hour_series ON reading_hour (series_id, bucket DESC);

-- What has to be computed anew. Each batch adds one row in its own transaction, so whoever takes a row out sees
-- the readings it speaks of, and a batch that commits later leaves a row of its own: no lock, nothing forgotten.
-- Minutes are counted from the Unix epoch, ends excluded.
CREATE TABLE rollup_dirty (
    dirty_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due_at       timestamptz NOT NULL,           -- when the youngest of its minutes is over
    live_from    integer,                        -- these minutes of every series; null: of none
    live_until   integer,
    series       integer[] NOT NULL DEFAULT '{}',  -- and of this series the minutes …
    late_from    integer[] NOT NULL DEFAULT '{}',
    late_until   integer[] NOT NULL DEFAULT '{}'
);

-- Hours (counted from the Unix epoch) to be made of their minutes, for every series, once they are over.
CREATE TABLE rollup_hour_due (
    hour  integer PRIMARY KEY
);

-- What was stored before there were rollups.
INSERT INTO rollup_dirty (due_at, live_from, live_until)
SELECT now(), minute, minute + 60
  FROM (SELECT extract(epoch FROM min(captured_at))::bigint / 3600 * 60 AS first,
               extract(epoch FROM max(captured_at))::bigint / 60 AS last FROM reading) bounds,
       generate_series(first, last, 60) AS minute;

-- One row: how long readings were kept when this was last looked at, and since when none of them can be missing.
-- Buckets before raw_since are never computed anew, since that would forget the readings that are gone.
CREATE TABLE keeping (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    readings_days  double precision,
    raw_since      timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO keeping DEFAULT VALUES;

-- Whether TimescaleDB may do the dropping and compressing itself: its community edition, not the Apache one.
CREATE FUNCTION timescale_has_policies() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('timescaledb.license', true), '') = 'timescale'
$$;

-- Keep one hypertable for so many days: by a policy where there are policies, else by dropping what is too old now.
-- The number of chunks that were dropped.
CREATE FUNCTION keep_for(hypertable regclass, days double precision) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    age interval := make_interval(secs => days * 86400);
    dropped bigint := 0;
BEGIN
    IF NOT timescale_has_policies() THEN
        SELECT count(*) INTO dropped FROM drop_chunks(hypertable, older_than => now() - age);
    ELSIF NOT EXISTS (
        SELECT FROM timescaledb_information.jobs
         WHERE proc_name = 'policy_retention'
           AND format('%I.%I', hypertable_schema, hypertable_name)::regclass = hypertable
           AND (config ->> 'drop_after')::interval = age
    ) THEN
        PERFORM remove_retention_policy(hypertable, if_exists => true);
        PERFORM add_retention_policy(hypertable, drop_after => age);
    END IF;
    RETURN dropped;
END
$$;

-- Compress readings that are older than so many days, where the edition can; whether it does.
CREATE FUNCTION compress_after(days double precision) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    age interval := make_interval(secs => days * 86400);
BEGIN
    IF NOT timescale_has_policies() THEN
        RETURN false;
    END IF;
    IF NOT EXISTS (SELECT FROM timescaledb_information.hypertables
                    WHERE hypertable_name = 'reading' AND compression_enabled) THEN
        ALTER TABLE reading SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
                                 timescaledb.compress_orderby = 'captured_at DESC');
    END IF;
    IF NOT EXISTS (SELECT FROM timescaledb_information.jobs
                    WHERE proc_name = 'policy_compression' AND hypertable_name = 'reading'
                      AND (config ->> 'compress_after')::interval = age) THEN
        PERFORM remove_compression_policy('reading', if_exists => true);
        PERFORM add_compression_policy('reading', compress_after => age);
    END IF;
    RETURN true;
END
$$;
