-- name: take
-- Whatever no other worker holds. Order does not matter for what comes out, only for who waits how long.
SELECT inbox_id, device_id, observation_id, phase, revision, category, source, sensor, severity, started_at, at,
       ended_at, count, value, unit, evidence, detail, received_at, mark, coalesce(attempts, 0) AS attempts,
       site, name, lon, lat
FROM observation_inbox
JOIN device USING (device_id)
LEFT JOIN inbox_attempt USING (inbox_id)
WHERE next_at IS NULL OR next_at <= %(now)s
ORDER BY inbox_id
LIMIT %(limit)s
FOR UPDATE OF observation_inbox SKIP LOCKED

-- name: delete
DELETE FROM observation_inbox WHERE inbox_id = ANY (%(inbox_ids)s)

-- name: try_later
INSERT INTO inbox_attempt (inbox_id, attempts, error, next_at)
SELECT inbox_id, 1, %(error)s, %(next_at)s FROM unnest(%(inbox_ids)s::bigint[]) AS inbox_id
ON CONFLICT (inbox_id) DO UPDATE SET
    attempts = inbox_attempt.attempts + 1, error = excluded.error, next_at = excluded.next_at

-- name: give_up
INSERT INTO inbox_failed (inbox_id, failed_at, attempts, error, device_id, observation_id, phase, category, inbox_row)
SELECT inbox_id, %(now)s, %(attempts)s, %(error)s, device_id, observation_id, phase, category, to_jsonb(waiting)
FROM observation_inbox AS waiting WHERE inbox_id = ANY (%(inbox_ids)s)

-- name: put_back
WITH back AS (
    DELETE FROM inbox_failed RETURNING inbox_row
)
INSERT INTO observation_inbox (device_id, observation_id, phase, revision, category, source, sensor, severity,
    started_at, at, ended_at, count, value, unit, evidence, detail, received_at, mark)
SELECT kept.device_id, kept.observation_id, kept.phase, kept.revision, kept.category, kept.source, kept.sensor,
    kept.severity, kept.started_at, kept.at, kept.ended_at, kept.count, kept.value, kept.unit, kept.evidence,
    kept.detail, kept.received_at, coalesce(kept.mark, '')
FROM back, jsonb_populate_record(NULL::observation_inbox, back.inbox_row) AS kept

-- name: failed
SELECT inbox_id, failed_at, attempts, error, device_id, observation_id, phase, category
FROM inbox_failed ORDER BY inbox_id LIMIT %(limit)s

-- name: counts
SELECT (SELECT count(*) FROM observation_inbox) AS waiting, (SELECT count(*) FROM inbox_failed) AS failed,
       (SELECT extract(epoch FROM now() - min(queued_at)) FROM observation_inbox) AS oldest_s
