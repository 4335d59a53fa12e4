-- Foreign devices: no outbox, no receipts; a mapping file says what they mean.
ALTER TABLE device ADD COLUMN mapping text;            -- whose mapping file lists it; null: a box

-- Streams of foreign devices' counters and times have negative epochs. They stand outside what is promised of boxes:
-- nobody numbers for us, and what is missing behind their window is closed, not lost.
CREATE OR REPLACE VIEW device_packets AS
SELECT s.device_id, s.epoch, s.duplicates, s.rejected, s.received_at,
       r.numbers - a.numbers AS committed, a.numbers AS abandoned,
       coalesce(upper(s.received) - 1, 0) AS highest,
       coalesce(upper(s.received) - 1, 0) - r.numbers AS missing
  FROM device_stream s
 CROSS JOIN LATERAL (SELECT coalesce(sum(upper(x) - lower(x)), 0)::bigint AS numbers FROM unnest(s.received) x) r
 CROSS JOIN LATERAL (SELECT coalesce(sum(upper(x) - lower(x)), 0)::bigint AS numbers FROM unnest(s.abandoned) x) a
 WHERE s.epoch > 0;

COMMENT ON COLUMN reading.flags IS
    '1 clock held, 2 implausible, 4 late for its rules, 8 unnumbered: a foreign device''s, kept though a repeat of it would be too';
