-- name: whose
-- A ticket's owner and the grid it lies in.
SELECT unit_code, grid_code FROM ticket WHERE ticket_id = %(ticket_id)s

-- name: alarms
-- What was seen of a ticket, by box, category and sensor.
SELECT DISTINCT seen.device_id, device.site, device.name AS device, seen.category, seen.sensor,
       coalesce(nullif(device.title_zh, ''), device.name) AS device_zh,
       coalesce(nullif(device.title_en, ''), device.name) AS device_en,
       coalesce(nullif(category.zh, ''), seen.category) AS category_zh,
       coalesce(nullif(category.en, ''), seen.category) AS category_en
FROM ticket_incident
JOIN incident_observation AS seen USING (incident_id)
JOIN device USING (device_id)
LEFT JOIN category ON category.code = seen.category
WHERE ticket_incident.ticket_id = %(ticket_id)s
ORDER BY device.site, device.name, seen.category, seen.sensor

-- name: on_the_shelf
-- Of these boxes, what is on the shelf now.
SELECT quiet_id, site, device, category, sensor, until_at, reason, who
FROM quiet_time
JOIN unnest(%(sites)s::text[], %(devices)s::text[]) AS box (site, device) USING (site, device)
WHERE kind = 'shelved' AND from_at <= %(now)s AND until_at > %(now)s
ORDER BY until_at, quiet_id

-- name: put
INSERT INTO quiet_time (kind, site, device, category, sensor, from_at, until_at, reason, who)
VALUES ('shelved', %(site)s, %(device)s, %(category)s, %(sensor)s, %(now)s, %(until)s, %(reason)s, %(who)s)
RETURNING quiet_id

-- name: take_off
UPDATE quiet_time SET until_at = greatest(from_at, %(now)s), ended_by = %(who)s
WHERE quiet_id = %(quiet_id)s AND kind = 'shelved' AND until_at > %(now)s
