-- name: beat
INSERT INTO worker_heartbeat (worker, at) VALUES (%(worker)s, clock_timestamp())
ON CONFLICT (worker) DO UPDATE SET at = excluded.at

-- name: forget_workers
DELETE FROM worker_heartbeat WHERE at < clock_timestamp() - interval '1 day'

-- name: workers
SELECT worker, extract(epoch FROM clock_timestamp() - at)::float8 AS age_s FROM worker_heartbeat ORDER BY at DESC

-- name: partitions
SELECT partition AS name, holder, expires_at > clock_timestamp() AS is_held,
       listening_since IS NOT NULL AS is_listening, working_at, clock_timestamp() AS now
FROM partition_lease
WHERE EXISTS (SELECT FROM device WHERE device.partition = partition_lease.partition AND quarantined_at IS NULL)
ORDER BY partition

-- name: lock
SELECT pg_try_advisory_xact_lock(%(key)s) AS ours

-- name: silence
SELECT partition, device_id, observation_id, revision, silent_since, ended_at
FROM gateway_silence WHERE partition = %(partition)s

-- name: spokesman
-- The box in whose name it is told: the one last heard, since its next words are what proves the gateway is back; a
-- foreign device where there are no boxes.
SELECT device_id FROM device LEFT JOIN device_presence USING (device_id)
WHERE partition = %(partition)s AND quarantined_at IS NULL
ORDER BY mapping IS NOT NULL, seen_at DESC NULLS LAST, device_id LIMIT 1

-- name: save_silence
INSERT INTO gateway_silence (partition, device_id, observation_id, revision, silent_since, ended_at)
VALUES (%(partition)s, %(device_id)s, %(observation_id)s, %(revision)s, %(silent_since)s, %(ended_at)s)
ON CONFLICT (partition) DO UPDATE SET device_id = excluded.device_id, observation_id = excluded.observation_id,
    revision = excluded.revision, silent_since = excluded.silent_since, ended_at = excluded.ended_at

-- name: put
INSERT INTO observation_inbox (device_id, observation_id, phase, revision, category, source, sensor, severity,
    started_at, at, ended_at, count, value, unit, detail, received_at)
VALUES (%(device_id)s, %(observation_id)s, %(phase)s, %(revision)s, %(category)s, %(source)s, %(sensor)s,
    %(severity)s, %(started_at)s, %(at)s, %(ended_at)s, 1, %(value)s, 's', %(detail)s, clock_timestamp())

-- name: figures
SELECT (SELECT count(*) FROM observation_inbox) AS inbox_waiting,
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(queued_at)), 0)::float8
        FROM observation_inbox LEFT JOIN inbox_attempt USING (inbox_id) WHERE next_at IS NULL) AS inbox_oldest_s,
       (SELECT count(*) FROM inbox_failed) AS inbox_failed,
       (SELECT count(*) FROM ticket WHERE state NOT IN ('closed', 'void', 'merged')) AS open,
       (SELECT count(*) FROM ticket WHERE unassigned AND state NOT IN ('closed', 'void', 'merged')) AS unassigned,
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(opened_at)), 0)::float8 FROM ticket
        WHERE unassigned AND state NOT IN ('closed', 'void', 'merged')) AS unassigned_oldest_s,
       (SELECT count(*) FROM ticket WHERE overdue AND state NOT IN ('closed', 'void', 'merged')) AS overdue,
       (SELECT coalesce(greatest(extract(epoch FROM clock_timestamp() - min(due_at)), 0), 0)::float8 FROM clock
        WHERE state = 'running') AS unfired_s
