-- Whistle: a department that is called has a time by which to be there; what is agreed there has names and dates.

-- Of a called unit. `watch_at`: when somebody looks next whether it is there; null: nobody need.
ALTER TABLE assignment
    ADD COLUMN arrive_due_at timestamptz,
    ADD COLUMN arrived_at timestamptz,                  -- as the unit says; within minutes of reported_at
    ADD COLUMN reported_at timestamptz,
    ADD COLUMN arrived_by text,
    ADD COLUMN arrived_lon double precision,            -- WGS-84
    ADD COLUMN arrived_lat double precision,
    ADD COLUMN distance_m double precision,             -- from the ticket's place
    ADD COLUMN missed_at timestamptz,
    ADD COLUMN watch_at timestamptz,
    ADD CONSTRAINT assignment_arrival CHECK (
        (arrived_at IS NULL) = (reported_at IS NULL) AND (arrived_at IS NULL) = (arrived_by IS NULL)
        AND (arrived_at IS NULL) = (distance_m IS NULL));
CREATE INDEX assignment_watch ON assignment (watch_at) WHERE watch_at IS NOT NULL;

-- What the called units found and decided together: written once, never changed.
CREATE TABLE conference (
    conference_id  uuid PRIMARY KEY,
    ticket_id      uuid NOT NULL REFERENCES ticket,
    held_at        timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL,
    account_id     uuid NOT NULL,
    recorded_by    text NOT NULL,
    present        text[] NOT NULL CHECK (cardinality(present) > 0),   -- unit codes
    findings       text NOT NULL DEFAULT '',
    decision       text NOT NULL CHECK (decision <> '')
);
CREATE INDEX conference_ticket ON conference (ticket_id, held_at);
CREATE TRIGGER conference_append_only BEFORE UPDATE OR DELETE ON conference
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER conference_no_truncate BEFORE TRUNCATE ON conference
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Who owes what by when. `watch_at` as above; each time it passes it goes one step further up.
CREATE TABLE conference_task (
    task_id        uuid PRIMARY KEY,
    conference_id  uuid NOT NULL REFERENCES conference,
    ticket_id      uuid NOT NULL REFERENCES ticket,
    n              smallint NOT NULL CHECK (n > 0),
    unit_code      text NOT NULL,
    what           text NOT NULL CHECK (what <> ''),
    due_at         timestamptz NOT NULL,
    done_at        timestamptz,
    done_by        text,
    done_note      text NOT NULL DEFAULT '',
    missed_at      timestamptz,
    watch_at       timestamptz,
    UNIQUE (conference_id, n),
    CHECK ((done_at IS NULL) = (done_by IS NULL)),
    CHECK (done_at IS NULL OR watch_at IS NULL)
);
CREATE INDEX conference_task_ticket ON conference_task (ticket_id, due_at);
CREATE INDEX conference_task_watch ON conference_task (watch_at) WHERE watch_at IS NOT NULL;

CREATE TABLE advice (
    advice_id    uuid PRIMARY KEY,
    ticket_id    uuid NOT NULL REFERENCES ticket,
    adviser      text NOT NULL CHECK (adviser <> ''),
    unit_code    text NOT NULL,                         -- through whom the adviser is reached
    question     text NOT NULL CHECK (question <> ''),
    asked_at     timestamptz NOT NULL,
    asked_by     text NOT NULL,
    answer       text,
    answered_at  timestamptz,
    answered_by  text,
    CHECK ((answer IS NULL) = (answered_at IS NULL) AND (answer IS NULL) = (answered_by IS NULL))
);
CREATE INDEX advice_ticket ON advice (ticket_id, asked_at);
