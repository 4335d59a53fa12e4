-- A device that moves from one partition to another does so between two batches, never in the middle of one.

-- The transaction that last moved a device into or out of a partition. A gateway reads it in the first statement of each
-- batch's transaction, which locks its row here; when it is another than before, the gateway reads the partition's
-- devices, series and rule states anew in that same transaction.
ALTER TABLE partition_lease ADD COLUMN moved_by xid8;

-- The whole table is locked, as for new rules: it waits for the batches in flight, and a partition whose first gateway
-- is just arriving has no row to be locked yet.
CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = '10s' AS $$
BEGIN
    LOCK TABLE partition_lease IN EXCLUSIVE MODE;
    UPDATE partition_lease SET moved_by = pg_current_xact_id()
        WHERE partition IN (OLD.partition, NEW.partition) AND moved_by IS DISTINCT FROM pg_current_xact_id();
    RETURN NULL;
END $$;

-- Deferred, so that batches are held for the moment of the commit alone, however long an enrolment takes.
CREATE CONSTRAINT TRIGGER device_moved AFTER UPDATE OF partition ON device
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.partition IS DISTINCT FROM NEW.partition) EXECUTE FUNCTION note_move();
