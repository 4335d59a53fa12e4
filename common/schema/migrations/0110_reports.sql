-- What people report: the hotline, citizens, grid workers, leaders and other systems come in beside the devices.

-- A report opens a ticket, or joins the one that is open, without an incident: an incident is what devices saw.
ALTER TABLE ticket DROP CONSTRAINT ticket_channel_check;
ALTER TABLE ticket ADD CONSTRAINT ticket_channel_check
    CHECK (channel IN ('camera', 'sensor', 'device', 'hotline', 'citizen', 'grid', 'leader', 'other'));

-- A merged ticket rests, with all it had, as a suspended one does, and can come back by a split.
ALTER TABLE ticket
    ADD COLUMN merged_into uuid REFERENCES ticket,
    DROP CONSTRAINT ticket_state_check,
    ADD CONSTRAINT ticket_state_check CHECK (state IN (
        'open', 'dispatched', 'acknowledged', 'on_site', 'resolved', 'verifying', 'reopened', 'suspended', 'merged',
        'closed', 'void'));
DO $$
DECLARE
    name text;
BEGIN
    SELECT conname INTO STRICT name FROM pg_constraint
     WHERE conrelid = 'ticket'::regclass AND contype = 'c'
       AND pg_get_constraintdef(oid) LIKE '%resumes_to IS NOT NULL%';
    EXECUTE format('ALTER TABLE ticket DROP CONSTRAINT %I', name);
END
$$;
ALTER TABLE ticket
    ADD CONSTRAINT ticket_resting CHECK ((state IN ('suspended', 'merged')) = (resumes_to IS NOT NULL)),
    ADD CONSTRAINT ticket_merged CHECK ((state = 'merged') = (merged_into IS NOT NULL)),
    ADD CONSTRAINT ticket_not_into_itself CHECK (merged_into <> ticket_id);
-- Still one open ticket a matter: of a merged one the work goes on in the ticket that it was merged into.
DROP INDEX ticket_one_open;
CREATE UNIQUE INDEX ticket_one_open ON ticket (matter_id) WHERE state NOT IN ('closed', 'void', 'merged');
CREATE INDEX ticket_merged_into ON ticket (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX ticket_open_place ON ticket (lat, lon) WHERE state NOT IN ('closed', 'void', 'merged');

-- Pictures that people sent stand beside those of the boxes; they belong to no device.
ALTER TABLE evidence ALTER COLUMN device_id DROP NOT NULL;

CREATE TABLE report (
    report_id      uuid PRIMARY KEY,
    receipt        text NOT NULL UNIQUE,               -- what the reporter is given; with the secret it shows the progress
    secret_hash    bytea NOT NULL,                     -- SHA-256
    channel        text NOT NULL CHECK (channel IN ('hotline', 'citizen', 'grid', 'leader', 'other')),
    source         text NOT NULL DEFAULT '',           -- the system or account it came through; '': the public page
    external_id    text NOT NULL DEFAULT '',           -- its number there
    category       text NOT NULL,
    description    text NOT NULL,
    address        text NOT NULL DEFAULT '',
    lon            double precision NOT NULL,          -- WGS-84
    lat            double precision NOT NULL,
    given_lon      double precision NOT NULL,          -- as it came, in coordinate_system
    given_lat      double precision NOT NULL,
    coordinate_system  text NOT NULL,
    occurred_at    timestamptz NOT NULL,
    received_at    timestamptz NOT NULL,
    account_id     uuid,                               -- who took it down; null: the public
    public         boolean NOT NULL DEFAULT false,     -- its text may be read by anybody (Open311)
    photos         jsonb NOT NULL DEFAULT '[]',        -- [{sha256, width, height}]
    ticket_id      uuid NOT NULL REFERENCES ticket,    -- where it stands now
    stars          smallint CHECK (stars BETWEEN 1 AND 5),
    rating_note    text NOT NULL DEFAULT '',
    rated_at       timestamptz
) WITH (fillfactor = 80);
CREATE INDEX report_ticket ON report (ticket_id, received_at);
CREATE INDEX report_newest ON report (received_at DESC, report_id DESC);

-- Which ticket a report stood in, since when and why: written once, never changed.
CREATE TABLE report_link (
    report_id   uuid NOT NULL REFERENCES report,
    n           integer NOT NULL CHECK (n > 0),
    ticket_id   uuid NOT NULL REFERENCES ticket,
    at          timestamptz NOT NULL,
    because     text NOT NULL CHECK (because IN ('opened', 'attached', 'merged', 'split')),
    actor_id    text NOT NULL DEFAULT '',              -- '': the system itself
    actor_name  text NOT NULL,
    PRIMARY KEY (report_id, n)
);
CREATE TRIGGER report_link_append_only BEFORE UPDATE OR DELETE ON report_link
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER report_link_no_truncate BEFORE TRUNCATE ON report_link
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What reporters said when they were asked whether it is really done: written once, never changed.
CREATE TABLE report_answer (
    report_id  uuid NOT NULL REFERENCES report,
    n          integer NOT NULL CHECK (n > 0),
    at         timestamptz NOT NULL,
    done       boolean NOT NULL,
    note       text NOT NULL DEFAULT '',
    ticket_id  uuid NOT NULL REFERENCES ticket,
    version    integer NOT NULL,                       -- of the ticket, when it was asked
    PRIMARY KEY (report_id, n)
);
CREATE TRIGGER report_answer_append_only BEFORE UPDATE OR DELETE ON report_answer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER report_answer_no_truncate BEFORE TRUNCATE ON report_answer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Open tickets that a report may be about as well; a person decides.
CREATE TABLE report_suggestion (
    report_id   uuid NOT NULL REFERENCES report,
    ticket_id   uuid NOT NULL REFERENCES ticket,
    score       real NOT NULL CHECK (score BETWEEN 0 AND 1),
    parts       jsonb NOT NULL,                        -- {distance_m, apart_s, kinship}
    made_at     timestamptz NOT NULL,
    PRIMARY KEY (report_id, ticket_id)
);

-- Tickets merged by hand, and what moved with them; a split moves exactly that back.
CREATE TABLE ticket_merge (
    merge_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id   uuid NOT NULL REFERENCES ticket,
    into_id     uuid NOT NULL REFERENCES ticket,
    merged_at   timestamptz NOT NULL,
    merged_by   text NOT NULL,
    note        text NOT NULL,
    incidents   uuid[] NOT NULL,
    reports     uuid[] NOT NULL,
    split_at    timestamptz,
    split_by    text,
    split_note  text,
    CHECK ((split_at IS NULL) = (split_by IS NULL))
);
CREATE UNIQUE INDEX ticket_merge_once ON ticket_merge (ticket_id) WHERE split_at IS NULL;

-- Who reported, sealed (AES-256-GCM, the report's id as associated data). The rows are deleted on schedule.
CREATE TABLE report_person (
    report_id  uuid PRIMARY KEY REFERENCES report,
    key_id     text NOT NULL,
    nonce      bytea NOT NULL,
    sealed     bytea NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX report_person_key ON report_person (key_id);

-- Requests that were answered, so that the same one sent again gets the same answer. Neither the key nor the body
-- can be read back: the body's MAC is keyed with the key, of which only a hash stands here.
CREATE TABLE report_request (
    scope      text NOT NULL,                          -- whose keys these are: an account, or the public
    key_hash   bytea NOT NULL,
    body_mac   bytea NOT NULL,
    salt       bytea NOT NULL,                         -- the reporter's secret follows from it and the key
    answer     jsonb,
    at         timestamptz NOT NULL,
    PRIMARY KEY (scope, key_hash)
);
CREATE INDEX report_request_age ON report_request (at);
