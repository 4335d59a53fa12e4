-- What stands at the door between gateway and ticket centre: the registry, the categories, the evidence
-- ledger and the inbox of observations.

CREATE EXTENSION IF NOT EXISTS timescaledb;

-- One row. The incarnation changes when the store is restored from a backup, so that boxes send again.
CREATE TABLE store (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    incarnation  uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO store DEFAULT VALUES;

CREATE TABLE device (
    device_id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site             text NOT NULL,
    name             text NOT NULL,
    partition        text NOT NULL DEFAULT 'default',  -- the group of sites one gateway leases at a time
    title_zh         text NOT NULL DEFAULT '',
    title_en         text NOT NULL DEFAULT '',
    lon              double precision NOT NULL CHECK (lon BETWEEN -180 AND 180),  -- WGS-84
    lat              double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    credential_hash  text,                             -- Argon2, for the evidence door
    silent_after_s   integer NOT NULL DEFAULT 120 CHECK (silent_after_s > 0),
    quarantined_at   timestamptz,
    registered_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (site, name)
);

CREATE TABLE category (
    code       text PRIMARY KEY,
    en         text NOT NULL,
    zh         text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('condition', 'act')),
    severity   smallint NOT NULL CHECK (severity BETWEEN 1 AND 4),
    gbt_30428  text NOT NULL DEFAULT '',
    known      boolean NOT NULL DEFAULT true           -- false: seen on the wire, declared by nobody
);

-- Pictures by their content. The row is written when the whole file is on disk, verified and synced.
CREATE TABLE evidence (
    sha256       text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    media_type   text NOT NULL,
    size         bigint NOT NULL CHECK (size > 0),
    device_id    integer NOT NULL REFERENCES device,
    stored_at    timestamptz NOT NULL DEFAULT now()
);

-- The hand-over: the gateway writes a row in its batch's transaction, a worker of the ticket centre
-- deletes it in the transaction that applies it.
CREATE TABLE observation_inbox (
    inbox_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id       integer NOT NULL REFERENCES device,
    observation_id  uuid NOT NULL,
    phase           text NOT NULL CHECK (phase IN ('start', 'update', 'end', 'act')),
    revision        integer NOT NULL,
    category        text NOT NULL,
    source          text NOT NULL,          -- the scene or rule that saw it
    sensor          text NOT NULL,
    severity        smallint NOT NULL,
    started_at      timestamptz NOT NULL,
    at              timestamptz NOT NULL,   -- capture time of this phase
    ended_at        timestamptz,
    count           integer NOT NULL,
    value           double precision,
    unit            text NOT NULL DEFAULT '',
    evidence        jsonb NOT NULL DEFAULT '[]',  -- as common.wire.messages.Evidence
    detail          jsonb NOT NULL DEFAULT '{}',
    received_at     timestamptz NOT NULL,
    queued_at       timestamptz NOT NULL DEFAULT now()
);
