-- The clocks and who is called: working calendars, rules by place and time, escalation, storm mode, the duty rota.

-- Weekly working hours; `hours` is [[begin, end], …] in seconds after midnight of the district's day.
CREATE TABLE calendar (
    name      text PRIMARY KEY,
    days      smallint[] NOT NULL CHECK (cardinality(days) > 0),  -- ISO, 1 Monday
    hours     jsonb NOT NULL,
    holidays  boolean NOT NULL
);

-- What the State Council's notice says of a year. A year that is not here is not known, and said so.
CREATE TABLE holiday_year (
    year     integer PRIMARY KEY,
    source   text NOT NULL,
    off      jsonb NOT NULL,                            -- [[first, last], …]
    work     jsonb NOT NULL,                            -- make-up days
    shipped  boolean NOT NULL DEFAULT false             -- came with a release, not by a person
);

-- Outside its hours another unit stands in for a unit.
ALTER TABLE unit
    ADD COLUMN hours text NOT NULL DEFAULT '',
    ADD COLUMN after_hours text REFERENCES unit,
    ADD COLUMN duty boolean NOT NULL DEFAULT false;     -- somebody must always be on duty

-- A rule may be for some places (units and what lies in them) and some times only.
ALTER TABLE routing_rule
    ADD COLUMN place text[] NOT NULL DEFAULT '{}',
    ADD COLUMN during text NOT NULL DEFAULT '',
    ADD COLUMN outside text NOT NULL DEFAULT '';

-- `hours`: the calendar whose time counts; '' all time, 'unit' that of the owner. `storm`: tried first in a storm.
ALTER TABLE policy
    ADD COLUMN hours text NOT NULL DEFAULT '',
    ADD COLUMN storm boolean NOT NULL DEFAULT false,
    ADD COLUMN escalate jsonb NOT NULL DEFAULT '[]';

-- Village → street → district → district head, as the district names them; level 0 is the owner.
CREATE TABLE escalation_level (
    level    smallint PRIMARY KEY CHECK (level > 0),
    name     text NOT NULL UNIQUE,
    name_zh  text NOT NULL,
    name_en  text NOT NULL,
    target   text NOT NULL CHECK (target ~ '^(unit:.+|level:(centre|street|community))$'),
    lead     boolean NOT NULL DEFAULT false             -- its lead in person, not whoever is on duty
);

-- What a missed clock still leads to, unless it is met before.
CREATE TABLE escalation_due (
    ticket_id  uuid NOT NULL REFERENCES ticket,
    clock      text NOT NULL,
    round      smallint NOT NULL,
    target     text NOT NULL DEFAULT '',                -- the level by name; '': the next one
    due_at     timestamptz NOT NULL,
    again_s    integer,                                 -- and one higher each time so much later
    PRIMARY KEY (ticket_id, clock, round)
);
CREATE INDEX escalation_due_at ON escalation_due (due_at);

-- A suspension whose review date has passed: its clocks stay stopped, and somebody is reminded.
CREATE TABLE review_reminder (
    ticket_id  uuid PRIMARY KEY REFERENCES ticket,
    review_at  timestamptz NOT NULL,                    -- which review was told
    told_at    timestamptz NOT NULL,
    times      integer NOT NULL
);

-- Who is on duty for a unit.
CREATE TABLE duty_shift (
    shift_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unit_code  text NOT NULL REFERENCES unit,
    person     text NOT NULL CHECK (person <> ''),
    phone      text NOT NULL DEFAULT '',
    begins_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    position   smallint NOT NULL DEFAULT 1,             -- who is called first of several
    CHECK (begins_at < ends_at)
);
CREATE INDEX duty_shift_unit ON duty_shift (unit_code, ends_at);

-- What people are to be told. Whoever sends takes rows that are due and not sent, and marks each once.
CREATE TABLE notification (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL,                          -- call_out, escalated, review_due, storm
    unit_code   text NOT NULL,
    person      text NOT NULL DEFAULT '',               -- '': nobody is named; the unit itself
    channel     text NOT NULL DEFAULT '',               -- '': whichever way reaches them
    payload     jsonb NOT NULL,
    dedupe_key  text NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL,
    due_at      timestamptz NOT NULL,
    sent_at     timestamptz,
    attempts    integer NOT NULL DEFAULT 0
);
CREATE INDEX notification_due ON notification (due_at) WHERE sent_at IS NULL;

-- What a storm does here: one row, or none where the district plans nothing for it.
CREATE TABLE storm_plan (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    categories   text[] NOT NULL,                       -- whose tickets get the storm's policies and severity
    raise_to     smallint NOT NULL CHECK (raise_to BETWEEN 1 AND 4),
    rule_categories  text[] NOT NULL DEFAULT '{}',      -- of incidents that make a storm by themselves; none: by hand only
    rule_incidents   integer NOT NULL DEFAULT 0,
    rule_within_s    integer NOT NULL DEFAULT 0,
    rule_area        text NOT NULL DEFAULT 'centre' CHECK (rule_area IN ('centre', 'street', 'community')),
    rule_quiet_s     integer NOT NULL DEFAULT 0         -- and no such incident for so long ends it
);

CREATE TABLE storm (
    storm_id    uuid PRIMARY KEY,
    unit_code   text NOT NULL REFERENCES unit,          -- its area
    by_rule     boolean NOT NULL,
    began_at    timestamptz NOT NULL,
    began_by    text NOT NULL,
    reason      text NOT NULL,
    ends_at     timestamptz,                            -- by itself, where somebody said so
    ended_at    timestamptz,
    ended_by    text,
    end_reason  text,
    CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    CHECK (ended_at >= began_at)
);
-- One storm an area: of two that begin it, one comes second.
CREATE UNIQUE INDEX storm_one_going_on ON storm (unit_code) WHERE ended_at IS NULL;
CREATE INDEX storm_newest ON storm (began_at DESC);

-- Its history: written once, never changed.
CREATE TABLE storm_event (
    storm_id    uuid NOT NULL REFERENCES storm,
    n           smallint NOT NULL CHECK (n > 0),
    at          timestamptz NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('began', 'ended')),
    actor_id    text NOT NULL DEFAULT '',               -- '': the system itself
    actor_name  text NOT NULL,
    reason      text NOT NULL,
    PRIMARY KEY (storm_id, n)
);
CREATE TRIGGER storm_event_append_only BEFORE UPDATE OR DELETE ON storm_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER storm_event_no_truncate BEFORE TRUNCATE ON storm_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The rule counts what began lately, not all that ever was.
CREATE INDEX incident_begun ON incident (started_at) WHERE kind = 'condition';
