-- A stream (one life of an outbox) is forgotten when nothing came of it for long. What a box numbered before this
-- instant and sends under a number that nobody knows any more may have been taken in once: it is kept as a reject
-- (forgotten_epoch), not taken in again. Null: no stream of the device was forgotten.
ALTER TABLE device ADD COLUMN streams_forgotten_until timestamptz;
