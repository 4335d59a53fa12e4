-- name: after
SELECT event_id, kind, payload::text AS payload FROM stream_event
WHERE event_id > %(event_id)s ORDER BY event_id LIMIT %(limit)s

-- name: newest
SELECT event_id, kind, payload FROM (
    SELECT event_id, kind, payload::text AS payload FROM stream_event ORDER BY event_id DESC LIMIT %(limit)s
) AS newest ORDER BY event_id

-- name: bounds
SELECT coalesce(min(event_id), 0) AS first, coalesce(max(event_id), 0) AS last FROM stream_event

-- name: prune
-- The newest one stays, whatever its age: it says where the stream stands.
DELETE FROM stream_event WHERE at < %(before)s AND event_id < (SELECT max(event_id) FROM stream_event)
