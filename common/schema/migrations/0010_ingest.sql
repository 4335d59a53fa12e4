-- What the gateway takes in: readings, observations, statuses, rejects, and the state that makes each packet
-- count once. Hypertables have no unique index (it would cost COPY two thirds of its speed): device_stream is
-- locked, looked at and widened in the transaction that writes the rows.

-- Who takes in a partition's messages. The holder's batches take the row FOR KEY SHARE and compare the fencing
-- number; a takeover takes it FOR UPDATE first, so it waits for a batch in flight and never overlaps one, while
-- renewals (which change no key) wait for nothing.
CREATE TABLE partition_lease (
    partition        text PRIMARY KEY,
    holder           text,
    fencing          bigint NOT NULL DEFAULT 0,
    expires_at       timestamptz NOT NULL DEFAULT '-infinity',
    acquired_at      timestamptz,
    listening_since  timestamptz               -- null while the holder is not connected to the broker
) WITH (fillfactor = 50);

-- The life of an outbox as the store knows it. received: every sequence number that need not be sent again;
-- abandoned: those of them that the box gave up.
CREATE TABLE device_stream (
    device_id    integer NOT NULL REFERENCES device,
    epoch        bigint NOT NULL,
    received     int8multirange NOT NULL DEFAULT '{}',
    abandoned    int8multirange NOT NULL DEFAULT '{}',
    rejected     bigint NOT NULL DEFAULT 0,    -- of the received: kept as rejects
    duplicates   bigint NOT NULL DEFAULT 0,    -- came again and were dropped
    first_at     timestamptz NOT NULL DEFAULT now(),
    received_at  timestamptz NOT NULL,         -- when the newest packet came in
    PRIMARY KEY (device_id, epoch)
) WITH (fillfactor = 50);

-- Packets by device and epoch, for people and checks: numbered by the box = committed + abandoned + missing.
CREATE VIEW device_packets AS
SELECT s.device_id, s.epoch, s.duplicates, s.rejected, s.received_at,
       r.numbers - a.numbers AS committed, a.numbers AS abandoned,
       coalesce(upper(s.received) - 1, 0) AS highest,
       coalesce(upper(s.received) - 1, 0) - r.numbers AS missing
  FROM device_stream s
 CROSS JOIN LATERAL (SELECT coalesce(sum(upper(x) - lower(x)), 0)::bigint AS numbers FROM unnest(s.received) x) r
 CROSS JOIN LATERAL (SELECT coalesce(sum(upper(x) - lower(x)), 0)::bigint AS numbers FROM unnest(s.abandoned) x) a;

CREATE TABLE series (
    series_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id  integer NOT NULL REFERENCES device,
    sensor     text NOT NULL,
    metric     text NOT NULL,
    UNIQUE (device_id, sensor, metric)
);

CREATE TABLE reading (
    captured_at  timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    value        double precision NOT NULL,
    series_id    integer NOT NULL,
    flags        smallint NOT NULL,            -- 1 clock held, 2 implausible, 4 late for its rules
    claimed_at   timestamptz                   -- what the box said, where the clock was held
);
SELECT create_hypertable('reading', by_range('captured_at', INTERVAL '1 day'), create_default_indexes => false);
CREATE INDEX reading_series ON reading (series_id, captured_at DESC);

CREATE TABLE observation (
    at              timestamptz NOT NULL,      -- capture time of this phase, held like a reading's
    device_id       integer NOT NULL,
    observation_id  uuid NOT NULL,
    phase           text NOT NULL,
    revision        integer NOT NULL,
    category        text NOT NULL,
    source          text NOT NULL,
    sensor          text NOT NULL,
    severity        smallint NOT NULL,
    started_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    count           integer NOT NULL,
    value           double precision,
    unit            text NOT NULL,
    evidence        jsonb NOT NULL,
    detail          jsonb NOT NULL,
    received_at     timestamptz NOT NULL,
    claimed_at      timestamptz,
    epoch           bigint,                    -- of the packet it came in; null: the gateway's own (silence)
    seq             bigint
);
SELECT create_hypertable('observation', by_range('at', INTERVAL '1 day'), create_default_indexes => false);
CREATE INDEX observation_device ON observation (device_id, at DESC);
CREATE INDEX observation_id ON observation (observation_id, at DESC);

CREATE TABLE device_status (
    received_at  timestamptz NOT NULL,
    device_id    integer NOT NULL,
    state        text NOT NULL,
    said_at      timestamptz NOT NULL,         -- by the box's clock
    version      text NOT NULL,
    epoch        bigint,
    counters     jsonb NOT NULL
);
SELECT create_hypertable('device_status', by_range('received_at', INTERVAL '1 day'), create_default_indexes => false);
CREATE INDEX device_status_device ON device_status (device_id, received_at DESC);

-- The newest status of each device, and whether it is silent.
CREATE TABLE device_presence (
    device_id              integer PRIMARY KEY REFERENCES device,
    state                  text,
    said_at                timestamptz,
    seen_at                timestamptz,        -- when the device itself was last heard by a status
    version                text NOT NULL DEFAULT '',
    epoch                  bigint,
    counters               jsonb NOT NULL DEFAULT '{}',
    silent_since           timestamptz,
    silence_id             uuid,
    silence_revision       integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Where each series stands under each rule, where that is more than quiet.
CREATE TABLE rule_state (
    rule_id    text NOT NULL,
    series_id  integer NOT NULL REFERENCES series,
    state      jsonb NOT NULL,                 -- gateway.rules.RuleState
    PRIMARY KEY (rule_id, series_id)
) WITH (fillfactor = 50);

-- Messages that could not be taken in, with their bytes, to be looked at and tried again after a fix.
CREATE TABLE reject (
    reject_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at  timestamptz NOT NULL,
    device_id    integer REFERENCES device,    -- null: nobody we know
    topic        text NOT NULL,
    reason       text NOT NULL,
    message      text NOT NULL,
    epoch        bigint,
    seq          bigint,
    size         bigint NOT NULL,              -- of the payload as it came
    payload      bytea NOT NULL                -- oversized ones are cut
);
CREATE INDEX reject_reason ON reject (reason, reject_id);
CREATE INDEX reject_device ON reject (device_id, reject_id);

-- How much of a device's day of rejects was kept: a flood of them must not fill the disk. Device 0: unknown ones.
CREATE TABLE reject_day (
    device_id   integer NOT NULL,
    day         date NOT NULL,                 -- the district's
    kept        bigint NOT NULL DEFAULT 0,
    kept_bytes  bigint NOT NULL DEFAULT 0,
    dropped     bigint NOT NULL DEFAULT 0,     -- beyond the quota: counted only
    PRIMARY KEY (device_id, day)
) WITH (fillfactor = 50);
