-- name: announce
-- A file that is about to be written: nobody names it yet.
INSERT INTO evidence_removal (sha256, media_type, due_at) VALUES (%(file)s, %(media_type)s, %(due_at)s)
ON CONFLICT (sha256) DO UPDATE SET due_at = greatest(evidence_removal.due_at, excluded.due_at)

-- name: claim
DELETE FROM evidence_removal WHERE sha256 = %(file)s

-- name: insert_evidence
-- One that is there is locked all the same: who lets go of it waits, and then sees who names it now.
INSERT INTO evidence (sha256, media_type, size, stored_at) VALUES (%(file)s, %(media_type)s, %(size)s, %(at)s)
ON CONFLICT (sha256) DO UPDATE SET size = excluded.size

-- name: insert_photo_of_report
INSERT INTO report_photo (report_id, sha256, file, key_id, nonce, sealed)
VALUES (%(owner_id)s, %(sha256)s, %(file)s, %(key_id)s, %(nonce)s, %(sealed)s)

-- name: insert_photo_of_ticket
UPDATE ticket_photo SET file = %(file)s, key_id = %(key_id)s, nonce = %(nonce)s, sealed = %(sealed)s
WHERE ticket_id = %(owner_id)s AND sha256 = %(sha256)s

-- name: find
SELECT 'report' AS whose, report_id AS owner_id, file, key_id, nonce, sealed FROM report_photo WHERE sha256 = %(sha256)s
UNION ALL
SELECT 'ticket', ticket_id, file, key_id, nonce, sealed FROM ticket_photo
WHERE sha256 = %(sha256)s AND file IS NOT NULL
ORDER BY whose DESC, owner_id LIMIT 1

-- name: is_unnamed
SELECT EXISTS (SELECT FROM evidence_removal WHERE sha256 = %(sha256)s)
   AND NOT EXISTS (SELECT FROM evidence WHERE sha256 = %(sha256)s) AS it

-- name: reports_sealed_with_others
SELECT report_id AS owner_id, sha256, key_id, nonce, sealed FROM report_photo
WHERE key_id <> %(key_id)s ORDER BY report_id, sha256 LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: tickets_sealed_with_others
SELECT ticket_id AS owner_id, sha256, key_id, nonce, sealed FROM ticket_photo
WHERE key_id <> %(key_id)s ORDER BY ticket_id, sha256 LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: reseal_of_report
UPDATE report_photo SET key_id = %(key_id)s, nonce = %(nonce)s, sealed = %(sealed)s
WHERE report_id = %(owner_id)s AND sha256 = %(sha256)s

-- name: reseal_of_ticket
UPDATE ticket_photo SET key_id = %(key_id)s, nonce = %(nonce)s, sealed = %(sealed)s
WHERE ticket_id = %(owner_id)s AND sha256 = %(sha256)s

-- name: in_clear
-- Reports and tickets with photos that are not sealed, from one on.
SELECT owner_id, whose FROM (
    SELECT report_id AS owner_id, 'report' AS whose FROM report WHERE photos <> '[]' AND NOT photos_sealed
    UNION ALL
    SELECT DISTINCT ticket_id, 'ticket' FROM ticket_photo WHERE file IS NULL
) AS clear
WHERE %(after)s::uuid IS NULL OR owner_id > %(after)s
ORDER BY owner_id LIMIT %(limit)s

-- name: count_in_clear
SELECT (SELECT count(*) FROM report WHERE photos <> '[]' AND NOT photos_sealed)
     + (SELECT count(DISTINCT ticket_id) FROM ticket_photo WHERE file IS NULL) AS count

-- name: lock_report
SELECT report_id FROM report WHERE report_id = %(owner_id)s FOR UPDATE

-- name: lock_ticket
-- Its photos alone: who works on the ticket does not wait for a seal.
SELECT photo_id FROM ticket_photo WHERE ticket_id = %(owner_id)s ORDER BY photo_id FOR UPDATE

-- name: unsealed_of_ticket
SELECT sha256 FROM ticket_photo WHERE ticket_id = %(owner_id)s AND file IS NULL ORDER BY sha256

-- name: unsealed_of_report
SELECT DISTINCT photo ->> 'sha256' AS sha256 FROM report, jsonb_array_elements(photos) AS photo
WHERE report_id = %(owner_id)s AND NOT EXISTS (
    SELECT FROM report_photo AS sealed
    WHERE sealed.report_id = report.report_id AND sealed.sha256 = photo ->> 'sha256')
ORDER BY sha256

-- name: all_sealed
UPDATE report SET photos_sealed = true WHERE report_id = %(report_id)s

-- name: lock_due
-- What is sealed and what is in the clear each by its own index. A report in a merged ticket stands in the one that goes on.
SELECT report_id, photos FROM report
WHERE report_id IN (
    SELECT report.report_id FROM report_photo JOIN report USING (report_id) JOIN ticket USING (ticket_id)
    WHERE ticket.closed_at < %(before)s
    UNION
    SELECT report.report_id FROM report JOIN ticket USING (ticket_id)
    WHERE photos <> '[]' AND NOT photos_sealed AND ticket.closed_at < %(before)s
    LIMIT 1000
)
ORDER BY report_id FOR UPDATE

-- name: delete_keys
DELETE FROM report_photo WHERE report_id = ANY (%(report_ids)s) RETURNING file

-- name: take_out
UPDATE report SET photos = '[]', photos_sealed = false WHERE report_id = ANY (%(report_ids)s)

-- name: lock_evidence
SELECT sha256 FROM evidence WHERE sha256 = ANY (%(files)s) ORDER BY sha256 FOR UPDATE

-- name: let_go
-- Files that no box sent, and that no ticket has for its proof and no report, sealed or in the clear.
WITH gone AS (
    DELETE FROM evidence
    WHERE sha256 = ANY (%(files)s) AND device_id IS NULL
      AND NOT EXISTS (SELECT FROM ticket_photo WHERE ticket_photo.file = evidence.sha256)
      AND NOT EXISTS (
        SELECT FROM ticket_photo WHERE ticket_photo.sha256 = evidence.sha256 AND ticket_photo.file IS NULL)
      AND NOT EXISTS (SELECT FROM report_photo WHERE report_photo.file = evidence.sha256)
      AND NOT EXISTS (
        SELECT FROM report
        WHERE photos <> '[]' AND photos @> jsonb_build_array(jsonb_build_object('sha256', evidence.sha256))
          AND NOT EXISTS (
            SELECT FROM report_photo AS sealed
            WHERE sealed.report_id = report.report_id AND sealed.sha256 = evidence.sha256))
    RETURNING sha256, media_type
)
INSERT INTO evidence_removal (sha256, media_type, due_at) SELECT sha256, media_type, %(now)s FROM gone
ON CONFLICT (sha256) DO UPDATE SET due_at = greatest(evidence_removal.due_at, excluded.due_at)

-- name: nobody_copies
SELECT pg_try_advisory_xact_lock(%(lock)s) AS it

-- name: due_files
SELECT sha256, media_type, EXISTS (SELECT FROM evidence WHERE evidence.sha256 = evidence_removal.sha256) AS is_named
FROM evidence_removal WHERE due_at <= %(now)s
ORDER BY due_at, sha256 LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: removed
DELETE FROM evidence_removal WHERE sha256 = ANY (%(files)s)
