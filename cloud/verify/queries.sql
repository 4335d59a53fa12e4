-- name: sightings
-- Of conditions: a passing act cannot be looked at again, its place is measured (cloud/recurring).
SELECT seen.device_id, sensor, seen.category, max(seen.started_at) AS last_start,
       max(at) FILTER (WHERE seen.ended_at IS NULL) AS goes_on_at, max(seen.ended_at) AS ended_at
FROM ticket_incident JOIN incident USING (incident_id) JOIN incident_observation AS seen USING (incident_id)
WHERE ticket_id = %(ticket_id)s AND incident.kind = 'condition'
GROUP BY seen.device_id, sensor, seen.category
ORDER BY device_id, sensor, category

-- name: sensor_looks
-- A reading is a look. Those with a flag (a clock that was off, an impossible value, too late) are not.
SELECT count(DISTINCT captured_at) AS looks, max(captured_at) AS last_look
FROM reading JOIN series USING (series_id)
WHERE device_id = %(device_id)s AND sensor = %(sensor)s AND captured_at > %(since)s AND flags = 0

-- name: camera_looks
-- A camera looked when its box says that it analysed more frames of this very camera than before, and nothing
-- blinds it. What other cameras of the box did is no look at this matter.
SELECT count(*) AS looks, max(said_at) AS last_look
FROM (
    SELECT said_at, state, (counters ->> ('analysed.' || %(sensor)s))::double precision AS analysed,
           lag((counters ->> ('analysed.' || %(sensor)s))::double precision) OVER (ORDER BY received_at) AS before
    FROM device_status
    WHERE device_id = %(device_id)s AND said_at > %(since)s AND received_at > %(since)s
) AS told
WHERE state = 'online' AND analysed > before
  AND NOT EXISTS (
    SELECT FROM incident_observation AS blinding
    WHERE blinding.device_id = %(device_id)s AND blinding.sensor = %(sensor)s
      AND blinding.category LIKE 'device.camera\_%%' AND blinding.ended_at IS NULL)

-- name: device_looks
SELECT count(*) AS looks, max(said_at) AS last_look FROM device_status
WHERE device_id = %(device_id)s AND state = 'online' AND said_at > %(since)s AND received_at > %(since)s

-- name: dirty_looks
-- What was seen of the matter after the claim, the newest first, with its pictures.
SELECT device.site || '/' || device.name AS device, seen.sensor, seen.category, seen.at, seen.value, seen.unit,
       seen.evidence
FROM ticket_incident
JOIN incident_observation AS seen USING (incident_id)
JOIN device ON device.device_id = seen.device_id
WHERE ticket_incident.ticket_id = %(ticket_id)s
  AND (seen.started_at > %(claimed_at)s OR (seen.ended_at IS NULL AND seen.at > %(claimed_at)s))
ORDER BY seen.at DESC, seen.observation_id LIMIT %(limit)s

-- name: is_seen_by_devices
SELECT EXISTS (SELECT FROM ticket_incident WHERE ticket_id = %(ticket_id)s) AS it

-- name: reporters
-- Citizens, whether they wrote themselves or called the hotline; a grid worker's or leader's word is not the public's.
SELECT report_id::text AS reference FROM report
WHERE ticket_id = %(ticket_id)s AND channel IN ('citizen', 'hotline') ORDER BY received_at, report_id

-- name: asked
SELECT reference, expires_at, answer = 'satisfied' AS satisfied FROM verification_request
WHERE ticket_id = %(ticket_id)s AND claimed_at = %(claimed_at)s ORDER BY asked_at, reference

-- name: ask
INSERT INTO verification_request (ticket_id, claimed_at, reference, asked_at, expires_at)
VALUES (%(ticket_id)s, %(claimed_at)s, %(reference)s, %(now)s, %(expires_at)s) ON CONFLICT DO NOTHING

-- name: answer
-- Who says yes may still say no while the ticket is verified; the last word counts.
UPDATE verification_request SET answer = %(answer)s, answered_at = %(now)s
WHERE ticket_id = %(ticket_id)s AND claimed_at = %(claimed_at)s AND reference = %(reference)s

-- name: insert_photo
INSERT INTO ticket_photo (photo_id, ticket_id, claimed_at, sha256, width, height, lon, lat, given_lon, given_lat,
    coordinate_system, distance_m, taken_at, uploaded_at, account_id, account_name, note)
VALUES (%(photo_id)s, %(ticket_id)s, %(claimed_at)s, %(sha256)s, %(width)s, %(height)s, %(lon)s, %(lat)s,
    %(given_lon)s, %(given_lat)s, %(coordinate_system)s, %(distance_m)s, %(taken_at)s, %(uploaded_at)s,
    %(account_id)s, %(account_name)s, %(note)s)
ON CONFLICT (sha256) DO NOTHING

-- name: photos
SELECT photo_id, sha256, width, height, lon, lat, coordinate_system, distance_m, claimed_at, taken_at, uploaded_at,
       account_name, note, accepted_at, accepted_by
FROM ticket_photo WHERE ticket_id = %(ticket_id)s ORDER BY uploaded_at, photo_id

-- name: photos_to_accept
-- Of this claim, and not by who accepts: nobody proves a thing to himself.
SELECT photo_id, sha256 FROM ticket_photo
WHERE ticket_id = %(ticket_id)s AND claimed_at = %(claimed_at)s AND account_id <> %(account_id)s
ORDER BY uploaded_at, photo_id

-- name: accept_photos
UPDATE ticket_photo SET accepted_at = %(now)s, accepted_by = %(by)s
WHERE photo_id = ANY (%(photo_ids)s) AND accepted_at IS NULL
