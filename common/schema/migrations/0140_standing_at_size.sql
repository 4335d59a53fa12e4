-- What the page, the watch and the league count, found without reading what a year of tickets left behind.

-- Whether a clock of it was ever missed. Counted from the clocks, every page read the missed ones of all closed tickets.
ALTER TABLE ticket ADD COLUMN overdue boolean NOT NULL DEFAULT false;
UPDATE ticket SET overdue = true WHERE ticket_id IN (SELECT ticket_id FROM clock WHERE missed_at IS NOT NULL);

-- Whoever changes a clock holds its ticket already (cloud/tickets/repo.py), so this waits for nobody.
CREATE FUNCTION note_overdue() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    its uuid := CASE WHEN TG_OP = 'DELETE' THEN OLD.ticket_id ELSE NEW.ticket_id END;
    is_overdue boolean := EXISTS (SELECT FROM clock WHERE ticket_id = its AND missed_at IS NOT NULL);
BEGIN
    UPDATE ticket SET overdue = is_overdue WHERE ticket_id = its AND overdue <> is_overdue;
    RETURN NULL;
END
$$;
CREATE TRIGGER clock_begun_missed AFTER INSERT ON clock
    FOR EACH ROW WHEN (NEW.missed_at IS NOT NULL) EXECUTE FUNCTION note_overdue();
CREATE TRIGGER clock_missed_or_not AFTER UPDATE OF missed_at ON clock
    FOR EACH ROW WHEN ((OLD.missed_at IS NULL) <> (NEW.missed_at IS NULL)) EXECUTE FUNCTION note_overdue();
CREATE TRIGGER clock_gone AFTER DELETE ON clock
    FOR EACH ROW WHEN (OLD.missed_at IS NOT NULL) EXECUTE FUNCTION note_overdue();

DROP INDEX ticket_open_worst;
CREATE INDEX ticket_open_worst ON ticket (severity DESC, opened_at DESC)
    INCLUDE (ticket_id, grid_code, unassigned, overdue) WHERE state NOT IN ('closed', 'void', 'merged');

-- Whose a ticket was when a clock of it began: the assessment asks it of every clock of a month.
CREATE INDEX assignment_owner ON assignment (ticket_id, assigned_at DESC, assignment_id DESC) INCLUDE (unit_code)
    WHERE kind = 'owner';
CREATE INDEX report_stars ON report (ticket_id) INCLUDE (stars) WHERE stars IS NOT NULL;
