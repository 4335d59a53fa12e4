-- What was observed decides what a matter is and whose ticket it becomes, not what was heard first.

-- Changes whenever a device comes, goes or moves: workers keep the places of all devices in mind and read them again
-- then. Deferred, so that the one row is held only while its transaction commits; once a transaction.
CREATE TABLE registry_change (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version     uuid NOT NULL DEFAULT gen_random_uuid(),
    changed_in  xid8 NOT NULL DEFAULT pg_current_xact_id()
);
INSERT INTO registry_change DEFAULT VALUES;

CREATE FUNCTION note_registry_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE registry_change SET version = gen_random_uuid(), changed_in = pg_current_xact_id()
    WHERE changed_in <> pg_current_xact_id();
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER device_registry_changed AFTER INSERT OR DELETE ON device
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_registry_change();
CREATE CONSTRAINT TRIGGER device_place_changed AFTER UPDATE ON device
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.site, OLD.name, OLD.lon, OLD.lat) IS DISTINCT FROM (NEW.site, NEW.name, NEW.lon, NEW.lat))
    EXECUTE FUNCTION note_registry_change();

-- Of each severity from 1 to 4 since when (capture time) the observation told at least that much, as far as it was heard
-- in time; empty where none of it was.
ALTER TABLE incident_observation ADD COLUMN severe_since timestamptz[] NOT NULL DEFAULT '{}';

-- By what a ticket that devices opened was given to its owner: the earliest observation and the gravest of its first
-- minute. While nobody has touched the ticket, an observation that belongs before them and comes in late changes it.
CREATE TABLE ticket_opening (
    ticket_id    uuid PRIMARY KEY REFERENCES ticket,
    observed_at  timestamptz NOT NULL,                 -- capture time
    lon          double precision NOT NULL,            -- of the device that observed it
    lat          double precision NOT NULL,
    severity     smallint NOT NULL CHECK (severity BETWEEN 1 AND 4)
);
