-- name: next_number
INSERT INTO ticket_number (day, last) VALUES (%(day)s, 1)
ON CONFLICT (day) DO UPDATE SET last = ticket_number.last + 1
RETURNING last

-- name: lock_ticket
SELECT ticket_id, number, matter_id, category, channel, severity, state, version, level, unit_code, unassigned,
       grid_code, lon, lat, policy, opened_at, dispatched_at, claimed_at, closed_at, resumes_to, review_at,
       blind_at, overridden, closed_by, reopenings, merged_into
FROM ticket WHERE ticket_id = %(ticket_id)s FOR UPDATE

-- name: try_lock_ticket
SELECT ticket_id, number, matter_id, category, channel, severity, state, version, level, unit_code, unassigned,
       grid_code, lon, lat, policy, opened_at, dispatched_at, claimed_at, closed_at, resumes_to, review_at,
       blind_at, overridden, closed_by, reopenings, merged_into
FROM ticket WHERE ticket_id = %(ticket_id)s FOR UPDATE SKIP LOCKED

-- name: ticket_of_incident
SELECT ticket_id FROM ticket_incident WHERE incident_id = %(incident_id)s

-- name: open_ticket_of_matter
-- Of a matter whose ticket was merged the work goes on in the other ticket, while that one is open.
WITH RECURSIVE standing AS (
    SELECT ticket_id, state, merged_into FROM ticket
    WHERE matter_id = %(matter_id)s AND state NOT IN ('closed', 'void')
    UNION
    SELECT ticket.ticket_id, ticket.state, ticket.merged_into
    FROM standing JOIN ticket ON ticket.ticket_id = standing.merged_into
)
SELECT ticket_id FROM standing WHERE state NOT IN ('closed', 'void', 'merged')
ORDER BY ticket_id DESC LIMIT 1

-- name: insert_ticket
INSERT INTO ticket (ticket_id, number, matter_id, category, channel, severity, state, version, level, unit_code,
    unassigned, grid_code, lon, lat, policy, opened_at, dispatched_at)
VALUES (%(ticket_id)s, %(number)s, %(matter_id)s, %(category)s, %(channel)s, %(severity)s, %(state)s, %(version)s,
    %(level)s, %(unit_code)s, %(unassigned)s, %(grid_code)s, %(lon)s, %(lat)s, %(policy)s, %(opened_at)s,
    %(dispatched_at)s)

-- name: update_ticket
UPDATE ticket SET category = %(category)s, channel = %(channel)s, severity = %(severity)s, state = %(state)s, version = %(version)s, level = %(level)s,
    unit_code = %(unit_code)s, unassigned = %(unassigned)s, dispatched_at = %(dispatched_at)s,
    claimed_at = %(claimed_at)s, closed_at = %(closed_at)s, resumes_to = %(resumes_to)s,
    review_at = %(review_at)s, blind_at = %(blind_at)s, overridden = %(overridden)s, closed_by = %(closed_by)s,
    reopenings = %(reopenings)s,
    merged_into = %(merged_into)s, grid_code = %(grid_code)s, lon = %(lon)s, lat = %(lat)s, policy = %(policy)s
WHERE ticket_id = %(ticket_id)s

-- name: add_event
INSERT INTO ticket_event (ticket_id, n, at, kind, actor_id, actor_name, from_state, to_state, note, detail)
VALUES (%(ticket_id)s, %(n)s, %(at)s, %(kind)s, %(actor_id)s, %(actor_name)s, %(from_state)s, %(to_state)s,
    %(note)s, %(detail)s)

-- name: link_incident
INSERT INTO ticket_incident (incident_id, ticket_id, linked_at) VALUES (%(incident_id)s, %(ticket_id)s, %(now)s)

-- name: seen_at_opening
-- What was observed of a ticket's own matter about the time of its beginning, as far as it was heard in time; of a ticket
-- about to be opened by an incident, of that one. More than the bound after the earliest start nothing counts.
WITH taken AS (
    SELECT incident_id FROM ticket_incident WHERE ticket_id = %(ticket_id)s
    UNION
    SELECT %(incident_id)s::uuid
), own AS (
    SELECT incident.incident_id, incident.started_at
    FROM incident JOIN taken USING (incident_id)
    WHERE incident.matter_id = (SELECT matter_id FROM incident WHERE incident_id = %(incident_id)s)
), seen AS (
    SELECT seen.started_at, device.site, device.name AS device, seen.observation_id, device.lon, device.lat,
           seen.severe_since
    FROM own
    JOIN incident_observation AS seen USING (incident_id)
    JOIN device USING (device_id)
    WHERE seen.mark = '' AND cardinality(seen.severe_since) > 0
      AND seen.started_at <= (SELECT min(started_at) FROM own) + 3 * %(bound)s::interval
)
SELECT * FROM seen

-- name: opening
SELECT observed_at, lon, lat, severity FROM ticket_opening WHERE ticket_id = %(ticket_id)s

-- name: save_opening
INSERT INTO ticket_opening (ticket_id, observed_at, lon, lat, severity)
VALUES (%(ticket_id)s, %(observed_at)s, %(lon)s, %(lat)s, %(severity)s)
ON CONFLICT (ticket_id) DO UPDATE SET observed_at = excluded.observed_at, lon = excluded.lon, lat = excluded.lat,
    severity = excluded.severity

-- name: touched
SELECT EXISTS (SELECT FROM ticket_event WHERE ticket_id = %(ticket_id)s AND actor_id <> '') AS it

-- name: incidents_of
SELECT incident_id FROM ticket_incident WHERE ticket_id = %(ticket_id)s ORDER BY incident_id

-- name: units_of
SELECT unit_code FROM ticket WHERE ticket_id = %(ticket_id)s
UNION
SELECT grid_code FROM ticket WHERE ticket_id = %(ticket_id)s
UNION
SELECT unit_code FROM assignment WHERE ticket_id = %(ticket_id)s AND kind = 'called' AND ended_at IS NULL

-- name: called_units
SELECT unit_code FROM assignment WHERE ticket_id = %(ticket_id)s AND kind = 'called' AND ended_at IS NULL

-- name: verifying
SELECT ticket_id FROM ticket
WHERE state = 'verifying' AND (blind_at IS NOT NULL) = %(blind)s
  AND (%(after)s::uuid IS NULL OR ticket_id > %(after)s)
ORDER BY ticket_id LIMIT %(limit)s

-- name: due_for_review
SELECT ticket_id FROM ticket WHERE state = 'suspended' AND review_at <= %(now)s ORDER BY review_at LIMIT %(limit)s

-- name: plan_each
SET LOCAL plan_cache_mode = force_custom_plan

-- name: summaries
SELECT ticket.ticket_id, ticket.number, ticket.category,
       coalesce(nullif(category.zh, ''), ticket.category) AS category_zh,
       coalesce(nullif(category.en, ''), ticket.category) AS category_en,
       ticket.channel, ticket.severity, ticket.state, ticket.version, ticket.level, ticket.unit_code,
       coalesce(unit.name_zh, ticket.unit_code, '') AS unit_zh,
       coalesce(unit.name_en, ticket.unit_code, '') AS unit_en,
       ticket.unassigned, ticket.grid_code, ticket.lon, ticket.lat, ticket.opened_at, ticket.dispatched_at,
       ticket.claimed_at, ticket.closed_at, ticket.blind_at, ticket.overridden, ticket.closed_by,
       ticket.reopenings,
       due.name AS next_clock, due.due_at AS next_due_at, counts.clocks_missed, linked.incidents,
       ticket.review_at, ticket.policy, ticket.merged_into
FROM ticket
LEFT JOIN category ON category.code = ticket.category
LEFT JOIN unit ON unit.unit_code = ticket.unit_code
LEFT JOIN LATERAL (
    SELECT clock.name, clock.due_at FROM clock
    WHERE clock.ticket_id = ticket.ticket_id AND clock.state = 'running' ORDER BY clock.due_at LIMIT 1
) AS due ON true
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE clock.missed_at IS NOT NULL) AS clocks_missed FROM clock
    WHERE clock.ticket_id = ticket.ticket_id
) AS counts
CROSS JOIN LATERAL (
    SELECT count(*) AS incidents FROM ticket_incident WHERE ticket_incident.ticket_id = ticket.ticket_id
) AS linked
WHERE (%(ticket_id)s::uuid IS NULL OR ticket.ticket_id = %(ticket_id)s)
  AND (%(states)s::text[] IS NULL OR ticket.state = ANY (%(states)s))
  AND (%(open)s::boolean IS NULL OR (ticket.state NOT IN ('closed', 'void', 'merged')) = %(open)s)
  AND (%(category)s::text IS NULL OR ticket.category = %(category)s)
  AND (%(channel)s::text IS NULL OR ticket.channel = %(channel)s)
  AND ticket.severity >= %(min_severity)s
  AND (%(unassigned)s::boolean IS NULL OR ticket.unassigned = %(unassigned)s)
  AND (%(overdue)s::boolean IS NULL OR (counts.clocks_missed > 0) = %(overdue)s)
  AND (%(number)s::text IS NULL OR ticket.number = %(number)s)
  AND (%(grid_code)s::text IS NULL OR ticket.grid_code = %(grid_code)s)
  AND (%(opened_since)s::timestamptz IS NULL OR ticket.opened_at >= %(opened_since)s)
  AND (%(opened_until)s::timestamptz IS NULL OR ticket.opened_at < %(opened_until)s)
  AND (%(west)s::float8 IS NULL OR ticket.lon BETWEEN %(west)s AND %(east)s AND ticket.lat BETWEEN %(south)s AND %(north)s)
  AND (%(unit_code)s::text IS NULL OR ticket.unit_code IN (
        WITH RECURSIVE below AS (
            SELECT %(unit_code)s::text AS unit_code
            UNION
            SELECT unit.unit_code FROM unit JOIN below ON unit.parent_code = below.unit_code
        )
        SELECT unit_code FROM below))
  AND (%(before_at)s::timestamptz IS NULL
       OR (ticket.opened_at, ticket.ticket_id) < (%(before_at)s, %(before_id)s::uuid))
ORDER BY ticket.opened_at DESC, ticket.ticket_id DESC
LIMIT %(limit)s

-- name: events
SELECT n, at, kind, actor_id, actor_name, from_state, to_state, note, detail
FROM ticket_event WHERE ticket_id = %(ticket_id)s ORDER BY n

-- name: assignments
SELECT assignment.unit_code, coalesce(unit.name_zh, assignment.unit_code) AS unit_zh,
       coalesce(unit.name_en, assignment.unit_code) AS unit_en, assignment.kind, assignment.assigned_at,
       assignment.assigned_by, assignment.because, assignment.ended_at
FROM assignment LEFT JOIN unit USING (unit_code)
WHERE ticket_id = %(ticket_id)s ORDER BY assignment_id

-- name: linked_incidents
SELECT incident.incident_id, incident.started_at, incident.last_at, incident.ended_at, incident.severity,
       incident.observations, incident.count, incident.lon, incident.lat,
       device.site || '/' || device.name AS device, device.title_zh AS device_zh, device.title_en AS device_en,
       latest.value, coalesce(latest.unit, '') AS unit, coalesce(pictures.evidence, '[]') AS evidence
FROM ticket_incident
JOIN incident USING (incident_id)
JOIN device USING (device_id)
LEFT JOIN LATERAL (
    SELECT value, unit FROM incident_observation
    WHERE incident_observation.incident_id = incident.incident_id ORDER BY at DESC LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT jsonb_agg(picture ORDER BY captured_at DESC) AS evidence FROM (
        SELECT picture, (picture ->> 'captured_at')::bigint AS captured_at
        FROM incident_observation, jsonb_array_elements(incident_observation.evidence) AS picture
        WHERE incident_observation.incident_id = incident.incident_id
        ORDER BY captured_at DESC LIMIT 12
    ) AS newest
) AS pictures ON true
WHERE ticket_incident.ticket_id = %(ticket_id)s
ORDER BY incident.started_at, incident.incident_id

-- name: reports
SELECT report_id, receipt, channel, occurred_at, received_at, photos, stars
FROM report WHERE ticket_id = %(ticket_id)s ORDER BY received_at DESC, report_id DESC LIMIT 50

-- name: arrived_evidence
SELECT sha256 FROM evidence WHERE sha256 = ANY (%(hashes)s)
