-- The evaluation right: the street in whose grid a matter lies rates the units that worked on it, once each.
CREATE TABLE unit_rating (
    ticket_id   uuid NOT NULL REFERENCES ticket,
    unit_code   text NOT NULL,                 -- who is rated
    stars       smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    note        text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL,
    account_id  uuid NOT NULL,
    rated_by    text NOT NULL,
    PRIMARY KEY (ticket_id, unit_code)
);
CREATE TRIGGER unit_rating_append_only BEFORE UPDATE OR DELETE ON unit_rating
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER unit_rating_no_truncate BEFORE TRUNCATE ON unit_rating
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What has stood open the longest, found without reading what is over.
CREATE INDEX ticket_open_since ON ticket (opened_at) WHERE state NOT IN ('closed', 'void', 'merged');
