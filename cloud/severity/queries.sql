-- name: clear_families
DELETE FROM fusion_family

-- name: store_family
INSERT INTO fusion_family (position, name, categories, radius_m, rejoin_s, stale_s)
VALUES (%(position)s, %(name)s, %(categories)s, %(radius_m)s, %(rejoin_s)s, %(stale_s)s)

-- name: clear_rules
DELETE FROM severity_rule

-- name: store_rule
INSERT INTO severity_rule (position, name, category, raise_to, lasts_s, observations, devices, reports, level, near)
VALUES (%(position)s, %(name)s, %(category)s, %(raise_to)s, %(lasts_s)s, %(observations)s, %(devices)s, %(reports)s,
    %(level)s, %(near)s)

-- name: clear_places
DELETE FROM vulnerable_place

-- name: store_place
INSERT INTO vulnerable_place (position, kind, name_zh, name_en, lon, lat, radius_m, categories)
VALUES (%(position)s, %(kind)s, %(name_zh)s, %(name_en)s, %(lon)s, %(lat)s, %(radius_m)s, %(categories)s)

-- name: rules
SELECT position, name, category, raise_to, lasts_s, observations, devices, reports, level, near
FROM severity_rule ORDER BY position

-- name: places
SELECT kind, name_zh, name_en, lon, lat, radius_m, categories FROM vulnerable_place ORDER BY position

-- name: seen
-- Of incidents, what was seen under each category. What goes on has lasted until %(until)s, where one is given; else,
-- as what is over, until its last capture.
SELECT seen.category,
       extract(epoch FROM max(CASE WHEN seen.ended_at IS NULL THEN coalesce(%(until)s::timestamptz, seen.at)
                              ELSE greatest(seen.at, seen.ended_at) END) - min(seen.started_at))::float8 AS duration_s,
       count(*)::integer AS observations, array_agg(DISTINCT seen.device_id) AS devices,
       max(greatest(seen.value, seen.peak)) AS level, coalesce(max(seen.unit), '') AS unit
FROM incident_observation AS seen
WHERE seen.incident_id = ANY (%(incidents)s) AND seen.mark = ''
GROUP BY seen.incident_id, seen.category
ORDER BY seen.category, seen.incident_id

-- name: incidents_of
SELECT incident_id FROM ticket_incident WHERE ticket_id = %(ticket_id)s

-- name: reports_of
SELECT count(*) AS reports FROM report WHERE ticket_id = %(ticket_id)s

-- name: lasting
-- Open tickets of a pattern below a severity, of which something has gone on for so long.
SELECT DISTINCT ticket.ticket_id
FROM ticket
JOIN ticket_incident USING (ticket_id)
JOIN incident USING (incident_id)
JOIN incident_observation AS seen USING (incident_id)
WHERE ticket.state NOT IN ('closed', 'void', 'merged') AND ticket.severity < %(raise_to)s
  AND incident.kind = 'condition' AND incident.ended_at IS NULL
  AND seen.ended_at IS NULL AND seen.started_at <= %(since)s AND seen.category = ANY (%(codes)s)
  AND (%(after)s::uuid IS NULL OR ticket.ticket_id > %(after)s)
ORDER BY ticket.ticket_id LIMIT %(limit)s
