-- name: device
SELECT device_id, site, name, lon, lat FROM device WHERE device_id = %(device_id)s

-- name: observation
SELECT device_id, observation_id, incident_id, revision, category, source, sensor, severity, started_at, at,
       ended_at, count, value, unit, evidence, detail, received_at, mark, peak, severe_since
FROM incident_observation WHERE device_id = %(device_id)s AND observation_id = %(observation_id)s

-- name: save_observation
INSERT INTO incident_observation (device_id, observation_id, incident_id, revision, category, source, sensor,
    severity, started_at, at, ended_at, count, value, unit, evidence, detail, received_at, mark, peak,
    severe_since)
VALUES (%(device_id)s, %(observation_id)s, %(incident_id)s, %(revision)s, %(category)s, %(source)s, %(sensor)s,
    %(severity)s, %(started_at)s, %(at)s, %(ended_at)s, %(count)s, %(value)s, %(unit)s, %(evidence)s,
    %(detail)s, %(received_at)s, %(mark)s, %(peak)s, %(severe_since)s::timestamptz[])
ON CONFLICT (device_id, observation_id) DO UPDATE SET
    revision = excluded.revision, source = excluded.source, sensor = excluded.sensor,
    severity = excluded.severity, started_at = excluded.started_at, at = excluded.at,
    ended_at = excluded.ended_at, count = excluded.count, value = excluded.value, unit = excluded.unit,
    evidence = excluded.evidence, detail = excluded.detail, received_at = excluded.received_at,
    mark = excluded.mark, peak = excluded.peak, severe_since = excluded.severe_since

-- name: families
SELECT name, categories, radius_m, rejoin_s, stale_s FROM fusion_family ORDER BY position

-- name: registry_version
SELECT version::text FROM registry_change

-- name: devices
SELECT device_id, site, name, lon, lat FROM device

-- name: matter_of_scope
SELECT matter_id, lon, lat FROM matter WHERE category = %(category)s AND scope = %(scope)s

-- name: matters_near
SELECT matter_id, lon, lat FROM matter
WHERE category = %(category)s AND scope = '' AND lat BETWEEN %(south)s AND %(north)s
  AND lon BETWEEN %(west)s AND %(east)s
ORDER BY matter_id

-- name: new_matter
INSERT INTO matter (category, scope, lon, lat, first_seen_at)
VALUES (%(category)s, %(scope)s, %(lon)s, %(lat)s, %(now)s) RETURNING matter_id

-- name: candidates
-- Conditions of a matter that could still touch an observation in time. A closed ticket is told by closed_at.
-- What calls no one (maintenance, drills) and what counts are kept apart.
SELECT incident.incident_id, incident.started_at, incident.ended_at, ticket.closed_at AS ticket_final_at,
       ticket.ticket_id
FROM incident
LEFT JOIN ticket_incident USING (incident_id)
LEFT JOIN ticket USING (ticket_id)
WHERE incident.matter_id = %(matter_id)s AND incident.kind = 'condition'
  AND (incident.mark = '') = (%(mark)s = '')
  AND (incident.ended_at IS NULL OR incident.ended_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR incident.started_at <= %(until)s)

-- name: incident_of_hour
SELECT incident_id FROM incident WHERE matter_id = %(matter_id)s AND kind = 'act' AND hour = %(hour)s
  AND mark = %(mark)s

-- name: new_incident
INSERT INTO incident (incident_id, matter_id, category, kind, hour, severity, started_at, last_at, ended_at,
    lon, lat, device_id, opened_at, mark)
VALUES (%(incident_id)s, %(matter_id)s, %(category)s, %(kind)s, %(hour)s, %(severity)s, %(started_at)s, %(at)s,
    %(over_at)s, %(lon)s, %(lat)s, %(device_id)s, %(now)s, %(mark)s)

-- name: lock_incident
SELECT incident_id, matter_id, category, kind, severity, started_at, last_at, ended_at, observations, count,
       ticket_worthy, lon, lat, device_id, opened_at, mark
FROM incident WHERE incident_id = %(incident_id)s FOR UPDATE

-- name: refold_incident
-- What an incident is follows from its observations alone, in whatever order they came.
UPDATE incident SET
    severity = folded.severity, started_at = folded.started_at, last_at = folded.last_at,
    ended_at = folded.ended_at, observations = folded.observations, count = folded.count,
    ticket_worthy = incident.ticket_worthy OR %(worthy)s, mark = folded.mark,
    lon = first.lon, lat = first.lat, device_id = first.device_id,
    category = coalesce(folded.category, incident.category)
FROM (
    SELECT max(severity) AS severity, min(started_at) AS started_at, max(at) AS last_at,
           CASE WHEN %(is_act)s THEN max(at) WHEN bool_and(ended_at IS NOT NULL) THEN max(ended_at) END AS ended_at,
           count(*)::integer AS observations, sum(count)::bigint AS count,
           CASE WHEN bool_or(mark = '') THEN '' ELSE max(mark) END AS mark,
           (%(family)s::text[])[min(array_position(%(family)s::text[], category))] AS category
    FROM incident_observation WHERE incident_id = %(incident_id)s
) AS folded, LATERAL (
    -- Who observed it first, not who was heard first; of two at once the earlier name.
    SELECT device.device_id, device.lon, device.lat
    FROM incident_observation AS seen JOIN device USING (device_id)
    WHERE seen.incident_id = %(incident_id)s AND seen.started_at = folded.started_at
    ORDER BY device.site, device.name LIMIT 1
) AS first
WHERE incident.incident_id = %(incident_id)s
RETURNING incident.incident_id, matter_id, incident.category, kind, incident.severity, incident.started_at,
    incident.last_at, incident.ended_at, incident.observations, incident.count, ticket_worthy, incident.lon,
    incident.lat, incident.device_id, opened_at, incident.mark

-- name: take_in_observations
UPDATE incident_observation SET incident_id = %(into)s WHERE incident_id = %(other)s

-- name: take_in_ticket
UPDATE ticket_incident SET incident_id = %(into)s
WHERE incident_id = %(other)s AND NOT EXISTS (SELECT FROM ticket_incident WHERE incident_id = %(into)s)

-- name: drop_ticket
DELETE FROM ticket_incident WHERE incident_id = %(other)s

-- name: take_in_incident
WITH gone AS (
    DELETE FROM incident WHERE incident_id = %(other)s RETURNING ticket_worthy
)
UPDATE incident SET ticket_worthy = incident.ticket_worthy OR gone.ticket_worthy
FROM gone WHERE incident.incident_id = %(into)s

-- name: note_joined
INSERT INTO incident_joined (incident_id, into_id, at) VALUES (%(other)s, %(into)s, %(now)s)

-- name: list_incidents
SELECT incident.incident_id, incident.category, coalesce(nullif(category.zh, ''), incident.category) AS category_zh,
       coalesce(nullif(category.en, ''), incident.category) AS category_en, incident.kind, incident.severity,
       incident.started_at, incident.last_at, incident.ended_at, incident.observations, incident.count,
       incident.ticket_worthy, incident.mark, incident.lon, incident.lat, incident.opened_at,
       device.site || '/' || device.name AS device, device.title_zh AS device_zh, device.title_en AS device_en,
       ticket.ticket_id, ticket.number AS ticket_number
FROM incident
JOIN device USING (device_id)
LEFT JOIN category ON category.code = incident.category
LEFT JOIN ticket_incident ON ticket_incident.incident_id = incident.incident_id
LEFT JOIN ticket ON ticket.ticket_id = ticket_incident.ticket_id
WHERE (%(kind)s::text IS NULL OR incident.kind = %(kind)s)
  AND (%(category)s::text IS NULL OR incident.category = %(category)s)
  AND (NOT %(only_open)s OR incident.ended_at IS NULL)
  AND (%(before_at)s::timestamptz IS NULL
       OR (incident.last_at, incident.incident_id) < (%(before_at)s, %(before_id)s::uuid))
ORDER BY incident.last_at DESC, incident.incident_id DESC
LIMIT %(limit)s

-- name: sync_categories
INSERT INTO category (code, en, zh, kind, severity, gbt_30428)
VALUES (%(code)s, %(en)s, %(zh)s, %(kind)s, %(severity)s, %(gbt_30428)s)
ON CONFLICT (code) DO UPDATE SET en = excluded.en, zh = excluded.zh, kind = excluded.kind,
    severity = excluded.severity, gbt_30428 = excluded.gbt_30428, known = true
WHERE (category.en, category.zh, category.kind, category.severity, category.gbt_30428, category.known)
   IS DISTINCT FROM (excluded.en, excluded.zh, excluded.kind, excluded.severity, excluded.gbt_30428, true)
