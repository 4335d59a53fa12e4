-- name: sightings
SELECT device_id, sensor, category, max(started_at) AS last_start,
       max(at) FILTER (WHERE ended_at IS NULL) AS goes_on_at, max(ended_at) AS ended_at
FROM ticket_incident JOIN incident_observation USING (incident_id)
WHERE ticket_id = %(ticket_id)s
GROUP BY device_id, sensor, category
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
