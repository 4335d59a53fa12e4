-- The ticket centre: matters, incidents, tickets with their history, assignments, clocks, and the stream
-- that browsers follow.

-- A matter is a category at a place: what may have at most one open ticket. The place is an anchor that
-- never moves; everything of the category within the category's radius of it belongs to it. Where only one
-- device can see the matter (a zone in a camera's picture, passing acts) the scope names that device or
-- sensor and nothing else joins.
CREATE TABLE matter (
    matter_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    category       text NOT NULL,
    scope          text NOT NULL DEFAULT '',           -- '': by distance
    lon            double precision NOT NULL,          -- WGS-84
    lat            double precision NOT NULL,
    first_seen_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX matter_scope ON matter (category, scope) WHERE scope <> '';
CREATE INDEX matter_place ON matter (category, lat, lon) WHERE scope = '';

CREATE TABLE incident (
    incident_id    uuid PRIMARY KEY,
    matter_id      bigint NOT NULL REFERENCES matter,
    category       text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('condition', 'act')),
    hour           timestamptz,                        -- of acts: they are counted by the hour
    severity       smallint NOT NULL CHECK (severity BETWEEN 1 AND 4),
    started_at     timestamptz NOT NULL,               -- capture times, all of them
    last_at        timestamptz NOT NULL,
    ended_at       timestamptz,                        -- null: an observation of it still goes on
    observations   integer NOT NULL DEFAULT 0,
    count          bigint NOT NULL DEFAULT 0,          -- of what the observations counted
    ticket_worthy  boolean NOT NULL DEFAULT false,
    lon            double precision NOT NULL,
    lat            double precision NOT NULL,
    device_id      integer NOT NULL REFERENCES device, -- whose observation opened it
    opened_at      timestamptz NOT NULL,               -- when the centre learned of it
    CHECK ((kind = 'act') = (hour IS NOT NULL)),
    CHECK (kind = 'condition' OR NOT ticket_worthy)
) WITH (fillfactor = 80);
CREATE INDEX incident_matter ON incident (matter_id, started_at);
CREATE UNIQUE INDEX incident_hour ON incident (matter_id, hour) WHERE kind = 'act';
CREATE INDEX incident_open ON incident (started_at) WHERE kind = 'condition' AND ended_at IS NULL;
CREATE INDEX incident_recent ON incident (last_at DESC, incident_id DESC);

-- The newest state of each observation. Its phases may arrive in any order and more than once.
CREATE TABLE incident_observation (
    device_id       integer NOT NULL REFERENCES device,
    observation_id  uuid NOT NULL,
    incident_id     uuid NOT NULL REFERENCES incident,
    revision        integer NOT NULL,
    category        text NOT NULL,
    source          text NOT NULL,
    sensor          text NOT NULL,
    severity        smallint NOT NULL,
    started_at      timestamptz NOT NULL,
    at              timestamptz NOT NULL,
    ended_at        timestamptz,
    count           integer NOT NULL,
    value           double precision,
    unit            text NOT NULL DEFAULT '',
    evidence        jsonb NOT NULL DEFAULT '[]',
    detail          jsonb NOT NULL DEFAULT '{}',
    received_at     timestamptz NOT NULL,
    PRIMARY KEY (device_id, observation_id)
) WITH (fillfactor = 80);
CREATE INDEX incident_observation_incident ON incident_observation (incident_id, started_at);

-- Numbers are counted by the district's day: DT-20260101-0001.
CREATE TABLE ticket_number (
    day   date PRIMARY KEY,
    last  integer NOT NULL
);

CREATE TABLE ticket (
    ticket_id       uuid PRIMARY KEY,
    number          text NOT NULL UNIQUE,
    matter_id       bigint NOT NULL REFERENCES matter,
    category        text NOT NULL,
    channel         text NOT NULL CHECK (channel IN ('camera', 'sensor', 'device')),
    severity        smallint NOT NULL CHECK (severity BETWEEN 1 AND 4),
    state           text NOT NULL CHECK (state IN (
        'open', 'dispatched', 'acknowledged', 'on_site', 'resolved', 'verifying', 'reopened', 'suspended',
        'closed', 'void')),
    version         integer NOT NULL,                  -- the n of its last event
    level           smallint NOT NULL DEFAULT 0,       -- times escalated
    unit_code       text,                              -- whose it is; of an unassigned one, the centre's
    unassigned      boolean NOT NULL DEFAULT false,    -- in the centre's queue: no rule named an owner
    grid_code       text,
    lon             double precision NOT NULL,
    lat             double precision NOT NULL,
    policy          jsonb NOT NULL,                    -- as it stood at opening
    opened_at       timestamptz NOT NULL,
    dispatched_at   timestamptz,
    claimed_at      timestamptz,                       -- when somebody said "resolved"
    closed_at       timestamptz,                       -- closed or void
    resumes_to      text,                              -- the state a suspension interrupted
    review_at       timestamptz,                       -- when a suspension is looked at again
    blind_at        timestamptz,                       -- verifying: since when no device can look
    overridden      boolean NOT NULL DEFAULT false,    -- closed by a person's word against or without a look
    reopenings      smallint NOT NULL DEFAULT 0,
    CHECK ((state = 'suspended') = (resumes_to IS NOT NULL)),
    CHECK ((state IN ('closed', 'void')) = (closed_at IS NOT NULL))
) WITH (fillfactor = 80);
-- One open ticket a matter: the promise, kept by the database.
CREATE UNIQUE INDEX ticket_one_open ON ticket (matter_id) WHERE state NOT IN ('closed', 'void');
CREATE INDEX ticket_newest ON ticket (opened_at DESC, ticket_id DESC);
CREATE INDEX ticket_verifying ON ticket (claimed_at) WHERE state = 'verifying';
CREATE INDEX ticket_unit ON ticket (unit_code, opened_at DESC);

-- Each ticket-worthy incident stands in exactly one ticket.
CREATE TABLE ticket_incident (
    incident_id  uuid PRIMARY KEY REFERENCES incident,
    ticket_id    uuid NOT NULL REFERENCES ticket,
    linked_at    timestamptz NOT NULL
);
CREATE INDEX ticket_incident_ticket ON ticket_incident (ticket_id);

-- The legal history: written once, never changed, never dropped.
CREATE TABLE ticket_event (
    ticket_id   uuid NOT NULL REFERENCES ticket,
    n           integer NOT NULL CHECK (n > 0),
    at          timestamptz NOT NULL,
    kind        text NOT NULL,
    actor_id    text NOT NULL DEFAULT '',              -- '': the system itself
    actor_name  text NOT NULL,
    from_state  text,
    to_state    text NOT NULL,
    note        text NOT NULL DEFAULT '',
    detail      jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (ticket_id, n)
);

-- refuse_change() stands in 0020_district.sql, where the audit needs it first.
CREATE TRIGGER ticket_event_append_only BEFORE UPDATE OR DELETE ON ticket_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ticket_event_no_truncate BEFORE TRUNCATE ON ticket_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE assignment (
    assignment_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id      uuid NOT NULL REFERENCES ticket,
    unit_code      text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('owner', 'called')),
    assigned_at    timestamptz NOT NULL,
    assigned_by    text NOT NULL,
    because        text NOT NULL DEFAULT '',
    ended_at       timestamptz                         -- handed on
);
CREATE UNIQUE INDEX assignment_one_owner ON assignment (ticket_id) WHERE kind = 'owner' AND ended_at IS NULL;
CREATE UNIQUE INDEX assignment_called_once ON assignment (ticket_id, unit_code)
    WHERE kind = 'called' AND ended_at IS NULL;

-- A promise of time. A round is one try: handing a ticket on, or reopening it, starts another.
CREATE TABLE clock (
    ticket_id    uuid NOT NULL REFERENCES ticket,
    name         text NOT NULL CHECK (name IN ('assign', 'ack', 'arrive', 'resolve')),
    round        smallint NOT NULL DEFAULT 1,
    state        text NOT NULL CHECK (state IN ('running', 'stopped', 'met', 'missed', 'cancelled')),
    started_at   timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,
    remaining_s  double precision,                     -- of a stopped one
    met_at       timestamptz,                          -- also of a missed one that was met late
    missed_at    timestamptz,
    version      integer NOT NULL DEFAULT 1,
    PRIMARY KEY (ticket_id, name, round),
    CHECK ((state = 'stopped') = (remaining_s IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX clock_due ON clock (due_at) WHERE state = 'running';

-- What browsers follow. Ids become visible in their order (cloud/db/transaction.py says how).
CREATE TABLE stream_event (
    event_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind      text NOT NULL,
    payload   jsonb NOT NULL
);
CREATE INDEX stream_event_at ON stream_event (at);

-- Inbox rows that could not be applied: tried again a few times, then kept apart with their reason.
CREATE TABLE inbox_attempt (
    inbox_id  bigint PRIMARY KEY REFERENCES observation_inbox ON DELETE CASCADE,
    attempts  integer NOT NULL,
    error     text NOT NULL,
    next_at   timestamptz NOT NULL
);
CREATE TABLE inbox_failed (
    inbox_id        bigint PRIMARY KEY,
    failed_at       timestamptz NOT NULL,
    attempts        integer NOT NULL,
    error           text NOT NULL,
    device_id       integer NOT NULL,
    observation_id  uuid NOT NULL,
    phase           text NOT NULL,
    category        text NOT NULL,
    inbox_row       jsonb NOT NULL
);
