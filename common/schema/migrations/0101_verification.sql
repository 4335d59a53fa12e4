-- Verification in full: what a ticket was closed by, who was asked, and the photos of those who went there.

-- A clean look of the devices, a person's photo, the reporter's yes, or a supervisor's word against or without them.
ALTER TABLE ticket
    ADD COLUMN closed_by text CHECK (closed_by IN ('look', 'photo', 'citizen', 'override'));
UPDATE ticket SET closed_by = CASE WHEN overridden THEN 'override' ELSE 'look' END WHERE state = 'closed';
ALTER TABLE ticket ADD CONSTRAINT ticket_closed_by CHECK (closed_by IS NULL OR state = 'closed');
CREATE INDEX ticket_overridden ON ticket (closed_at) WHERE closed_by = 'override';

-- Somebody who reported the matter is asked whether it is really done: once for each claim that it is.
CREATE TABLE verification_request (
    ticket_id    uuid NOT NULL REFERENCES ticket,
    claimed_at   timestamptz NOT NULL,                  -- which claim
    reference    text NOT NULL,                         -- whom: a report's id, nothing personal
    asked_at     timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,                  -- from then on nobody waits for the answer
    answer       text CHECK (answer IN ('satisfied', 'refused')),
    answered_at  timestamptz,
    PRIMARY KEY (ticket_id, claimed_at, reference),
    CHECK ((answer IS NULL) = (answered_at IS NULL)),
    CHECK (expires_at > asked_at)
);

-- A photo by somebody who went there after the claim. Rows are added; only their acceptance is written later.
CREATE TABLE ticket_photo (
    photo_id     uuid PRIMARY KEY,
    ticket_id    uuid NOT NULL REFERENCES ticket,
    claimed_at   timestamptz NOT NULL,                  -- which claim it is about
    sha256       text NOT NULL UNIQUE,                  -- one photo proves one thing
    width        integer NOT NULL,
    height       integer NOT NULL,
    lon          double precision NOT NULL,             -- WGS-84
    lat          double precision NOT NULL,
    given_lon    double precision NOT NULL,             -- as it came, in coordinate_system
    given_lat    double precision NOT NULL,
    coordinate_system  text NOT NULL,
    distance_m   double precision NOT NULL,             -- from the ticket's place
    taken_at     timestamptz NOT NULL,
    uploaded_at  timestamptz NOT NULL,
    account_id   uuid NOT NULL,
    account_name text NOT NULL,
    note         text NOT NULL DEFAULT '',
    accepted_at  timestamptz,
    accepted_by  text,
    CHECK (taken_at >= claimed_at),
    CHECK ((accepted_at IS NULL) = (accepted_by IS NULL))
);
CREATE INDEX ticket_photo_ticket ON ticket_photo (ticket_id, uploaded_at);
