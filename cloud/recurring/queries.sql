-- name: clear_stretches
DELETE FROM stretch

-- name: store_stretch
INSERT INTO stretch (code, position, name_zh, name_en, points, within_m, cameras)
VALUES (%(code)s, %(position)s, %(name_zh)s, %(name_en)s, %(points)s, %(within_m)s, %(cameras)s)

-- name: clear_bands
DELETE FROM hour_band

-- name: store_band
INSERT INTO hour_band (name, position, name_zh, name_en, days, hours)
VALUES (%(name)s, %(position)s, %(name_zh)s, %(name_en)s, %(days)s, %(hours)s)

-- name: clear_rules
DELETE FROM recurring_rule

-- name: store_rule
INSERT INTO recurring_rule (position, category, bands, per_h, over_s, least_acts, least_looked_s, verify_looked_s,
    verify_within_s)
VALUES (%(position)s, %(category)s, %(bands)s, %(per_h)s, %(over_s)s, %(least_acts)s, %(least_looked_s)s,
    %(verify_looked_s)s, %(verify_within_s)s)

-- name: stretches
SELECT code, name_zh, name_en, points, within_m, cameras FROM stretch ORDER BY position

-- name: bands
SELECT name, name_zh, name_en, days, hours FROM hour_band ORDER BY position

-- name: rules
SELECT category, bands, per_h, over_s, least_acts, least_looked_s, verify_looked_s, verify_within_s
FROM recurring_rule ORDER BY position

-- name: devices
-- Which devices saw acts of a category lately. Acts of a device are a matter of their own.
SELECT device.device_id, device.site, device.name, device.lon, device.lat, device.title_zh, device.title_en
FROM device
WHERE EXISTS (
    SELECT FROM matter JOIN incident USING (matter_id)
    WHERE matter.category = %(category)s AND matter.scope = device.site || '/' || device.name
      AND incident.kind = 'act' AND incident.mark = '' AND incident.hour >= %(since)s - interval '1 hour')
ORDER BY device.device_id

-- name: acts
-- How many acts of a category each camera of some devices saw within a band.
SELECT device_id, sensor, sum(count)::bigint AS acts
FROM acts_in_band(%(category)s, %(devices)s::integer[], %(since)s, %(until)s, %(days)s::smallint[],
                  %(begins)s::integer[], %(ends)s::integer[])
GROUP BY device_id, sensor ORDER BY device_id, sensor

-- name: looked
-- How long these cameras looked within a band, by their books: a slice of five minutes, told at its end, belongs to the
-- band in which its middle lies. A reading whose clock was held, or that cannot be, is no book.
SELECT coalesce(sum(reading.value), 0)::float8 AS looked_s
FROM unnest(%(devices)s::integer[], %(sensors)s::text[]) AS camera (device_id, sensor)
JOIN series ON series.device_id = camera.device_id AND series.sensor = camera.sensor
           AND series.metric = 'coverage_looked'
JOIN reading USING (series_id)
WHERE reading.captured_at >= %(since)s + interval '150 s' AND reading.captured_at < %(until)s + interval '150 s'
  AND (reading.flags & 3) = 0
  AND in_band(reading.captured_at - interval '150 s', %(days)s::smallint[], %(begins)s::integer[],
              %(ends)s::integer[])

-- name: worst
-- The worst acts that pictures show, then the others.
SELECT seen.incident_id, device.site || '/' || device.name AS device, device.title_zh AS device_zh,
       device.title_en AS device_en, seen.sensor, seen.started_at, seen.severity, seen.count, seen.evidence
FROM acts_in_band(%(category)s, %(devices)s::integer[], %(since)s, %(until)s, %(days)s::smallint[],
                  %(begins)s::integer[], %(ends)s::integer[]) AS seen
JOIN device USING (device_id)
ORDER BY (seen.evidence <> '[]') DESC, seen.severity DESC, seen.count DESC, seen.started_at DESC, seen.observation_id
LIMIT %(limit)s

-- name: link
-- An hour of acts may stand in the ticket of another band already.
INSERT INTO ticket_incident (incident_id, ticket_id, linked_at)
SELECT DISTINCT incident_id, %(ticket_id)s::uuid, %(now)s::timestamptz FROM unnest(%(incidents)s::uuid[]) AS incident_id
ON CONFLICT (incident_id) DO NOTHING

-- name: last_closed
SELECT max(closed_at) AS closed_at FROM ticket WHERE matter_id = %(matter_id)s

-- name: insert
INSERT INTO recurring_place (ticket_id, category, stretch, stretch_zh, stretch_en, band, rule, cameras, worst, opened_upon)
VALUES (%(ticket_id)s, %(category)s, %(stretch)s, %(stretch_zh)s, %(stretch_en)s, %(band)s, %(rule)s, %(cameras)s,
    %(worst)s, %(opened_upon)s)

-- name: place
-- A ticket's own, else that of one that was merged into it: there its work goes on.
SELECT ticket_id, recurring_place.category, stretch, stretch_zh, stretch_en, band, rule, cameras, worst, opened_upon,
       recurring_place.claimed_at, measured_at, before, after, verdict
FROM recurring_place JOIN ticket USING (ticket_id)
WHERE ticket_id = %(ticket_id)s OR merged_into = %(ticket_id)s
ORDER BY ticket_id <> %(ticket_id)s, ticket_id LIMIT 1

-- name: measured
UPDATE recurring_place SET claimed_at = %(claimed_at)s, measured_at = %(now)s, before = %(before)s, after = %(after)s,
    verdict = %(verdict)s
WHERE ticket_id = %(ticket_id)s

-- name: list
SELECT recurring_place.ticket_id, ticket.number, ticket.state, ticket.opened_at, ticket.closed_at,
       recurring_place.category, stretch, stretch_zh, stretch_en, band, rule, cameras, worst, opened_upon,
       recurring_place.claimed_at, measured_at, before, after, verdict
FROM recurring_place JOIN ticket USING (ticket_id)
WHERE (%(open)s::boolean IS NULL OR (ticket.state NOT IN ('closed', 'void', 'merged')) = %(open)s)
  AND (%(before_at)s::timestamptz IS NULL
       OR (ticket.opened_at, ticket.ticket_id) < (%(before_at)s, %(before_id)s::uuid))
ORDER BY ticket.opened_at DESC, ticket.ticket_id DESC LIMIT %(limit)s
