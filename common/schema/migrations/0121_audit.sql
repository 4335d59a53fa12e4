-- A ticket's history as a chain: each line carries the SHA-256 of itself and of the hash before it, written by the
-- database in the same transaction whoever inserts the line. What was anchored of it can be kept elsewhere.

-- One text for one JSON value: keys in the order of their code points, no blanks, numbers without an exponent and
-- without zeros at their end, characters escaped only where JSON demands it. cloud/audit/domain.py has the same.
CREATE FUNCTION audit_canonical(it jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    CASE jsonb_typeof(it)
        WHEN 'object' THEN
            RETURN (SELECT '{' || coalesce(string_agg(
                        to_json(key)::text || ':' || audit_canonical(value), ',' ORDER BY key COLLATE "C"), '') || '}'
                    FROM jsonb_each(it));
        WHEN 'array' THEN
            RETURN (SELECT '[' || coalesce(string_agg(audit_canonical(value), ',' ORDER BY place), '') || ']'
                    FROM jsonb_array_elements(it) WITH ORDINALITY AS element (value, place));
        WHEN 'number' THEN
            RETURN trim_scale((it #>> '{}')::numeric)::text;
        ELSE
            RETURN it::text;
    END CASE;
END
$$;

-- The hash of a line; times in microseconds since the Unix epoch. Before the first stands 32 times zero.
CREATE FUNCTION audit_link(previous bytea, it ticket_event) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(previous || convert_to(audit_canonical(jsonb_build_object(
        'ticket_id', it.ticket_id, 'n', it.n, 'at', (extract(epoch FROM it.at) * 1000000)::bigint,
        'kind', it.kind, 'actor_id', it.actor_id, 'actor_name', it.actor_name, 'from_state', it.from_state,
        'to_state', it.to_state, 'note', it.note, 'detail', it.detail)), 'UTF8'))
$$;

ALTER TABLE ticket_event ADD COLUMN hash bytea;

-- What is there already is chained as it stands; the append-only rule rests for this alone.
ALTER TABLE ticket_event DISABLE TRIGGER ticket_event_append_only;
DO $$
DECLARE
    it ticket_event;
    of_ticket uuid;
    previous bytea;
BEGIN
    FOR it IN SELECT * FROM ticket_event ORDER BY ticket_id, n LOOP
        IF of_ticket IS DISTINCT FROM it.ticket_id THEN
            of_ticket := it.ticket_id;
            previous := decode(repeat('00', 32), 'hex');
        END IF;
        previous := audit_link(previous, it);
        UPDATE ticket_event SET hash = previous WHERE ticket_id = it.ticket_id AND n = it.n;
    END LOOP;
END
$$;
ALTER TABLE ticket_event ENABLE TRIGGER ticket_event_append_only;
ALTER TABLE ticket_event ALTER COLUMN hash SET NOT NULL;

CREATE FUNCTION chain_ticket_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    previous bytea := decode(repeat('00', 32), 'hex');
BEGIN
    IF NEW.n > 1 THEN
        SELECT hash INTO previous FROM ticket_event WHERE ticket_id = NEW.ticket_id AND n = NEW.n - 1;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'line % of the history of ticket % has none before it', NEW.n, NEW.ticket_id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    NEW.hash := audit_link(previous, NEW);
    RETURN NEW;
END
$$;
CREATE TRIGGER ticket_event_chain BEFORE INSERT ON ticket_event
    FOR EACH ROW EXECUTE FUNCTION chain_ticket_event();

-- Every hour: which histories grew, with their newest hash, and one hash over all of them and the anchor before.
CREATE TABLE audit_anchor (
    anchor_id  bigint PRIMARY KEY CHECK (anchor_id > 0),   -- without gaps
    at         timestamptz NOT NULL,
    heads      integer NOT NULL,
    hash       bytea NOT NULL
);
CREATE TABLE audit_anchored (
    ticket_id  uuid NOT NULL REFERENCES ticket,
    n          integer NOT NULL,
    hash       bytea NOT NULL,
    anchor_id  bigint NOT NULL REFERENCES audit_anchor DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (ticket_id, n)
);
CREATE INDEX audit_anchored_anchor ON audit_anchored (anchor_id, ticket_id);

CREATE TRIGGER audit_anchor_append_only BEFORE UPDATE OR DELETE ON audit_anchor
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_anchor_no_truncate BEFORE TRUNCATE ON audit_anchor
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_anchored_append_only BEFORE UPDATE OR DELETE ON audit_anchored
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_anchored_no_truncate BEFORE TRUNCATE ON audit_anchored
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
