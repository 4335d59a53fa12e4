-- name: standing
-- Of ticket_open_worst alone, counted before anything is joined: what is open is read once for everything it is counted by.
SELECT grid.parent_code AS unit_code, counted.severity, sum(counted.open)::bigint AS open,
       sum(counted.unassigned)::bigint AS unassigned, sum(counted.overdue)::bigint AS overdue
FROM (
    SELECT grid_code, severity, count(*) AS open, count(*) FILTER (WHERE unassigned) AS unassigned,
           count(*) FILTER (WHERE overdue) AS overdue
    FROM ticket WHERE state NOT IN ('closed', 'void', 'merged') GROUP BY grid_code, severity
) AS counted
LEFT JOIN unit AS grid ON grid.unit_code = counted.grid_code
GROUP BY 1, 2

-- name: open_tickets
SELECT ticket.ticket_id, ticket.number, ticket.severity, ticket.state, ticket.lon, ticket.lat,
       coalesce(nullif(category.zh, ''), ticket.category) AS category_zh,
       coalesce(nullif(category.en, ''), ticket.category) AS category_en
FROM ticket LEFT JOIN category ON category.code = ticket.category
WHERE ticket.state NOT IN ('closed', 'void', 'merged')
ORDER BY ticket.severity DESC, ticket.opened_at DESC LIMIT %(limit)s

-- name: drawn_from
-- What the drawing is made of, as one short text: whoever has drawn it compares this, not the outlines.
SELECT md5(coalesce((SELECT string_agg(unit::text, E'\n' ORDER BY unit_code) FROM unit), ''))
    || md5(coalesce((SELECT string_agg(map_feature::text, E'\n' ORDER BY position) FROM map_feature), '')) AS it

-- name: devices
SELECT device.site, device.name, device.lon, device.lat,
       coalesce(nullif(device.title_zh, ''), device.name) AS title_zh,
       coalesce(nullif(device.title_en, ''), device.name) AS title_en,
       coalesce(presence.state = 'online' AND presence.silent_since IS NULL, false) AS online
FROM device LEFT JOIN device_presence AS presence USING (device_id)
ORDER BY device.site, device.name LIMIT %(limit)s

-- name: fleet
SELECT count(*) AS devices,
       count(*) FILTER (WHERE presence.state = 'online' AND presence.silent_since IS NULL) AS online,
       max(CASE WHEN jsonb_typeof(presence.counters -> 'oldest_unreceipted_s') = 'number'
                THEN (presence.counters ->> 'oldest_unreceipted_s')::double precision END)
           FILTER (WHERE presence.state = 'online') AS oldest_unreceipted_s,
       (SELECT at FROM stream_event ORDER BY event_id DESC LIMIT 1) AS last_event_at
FROM device LEFT JOIN device_presence AS presence USING (device_id)

-- name: packets_last_minute
-- What each box counted as receipted, now less a minute ago, within one life of its outbox.
SELECT sum(greatest(newest.receipted - oldest.receipted, 0))::bigint AS packets
FROM device
CROSS JOIN LATERAL (
    SELECT epoch, (counters ->> 'packets_receipted')::double precision AS receipted FROM device_status
    WHERE device_status.device_id = device.device_id AND received_at > %(since)s AND received_at <= %(now)s
      AND jsonb_typeof(counters -> 'packets_receipted') = 'number'
    ORDER BY received_at DESC LIMIT 1
) AS newest
CROSS JOIN LATERAL (
    SELECT (counters ->> 'packets_receipted')::double precision AS receipted FROM device_status
    WHERE device_status.device_id = device.device_id AND received_at > %(since)s AND received_at <= %(now)s
      AND epoch IS NOT DISTINCT FROM newest.epoch AND jsonb_typeof(counters -> 'packets_receipted') = 'number'
    ORDER BY received_at LIMIT 1
) AS oldest

-- name: recent_incidents
SELECT incident.incident_id, incident.kind, incident.severity, incident.started_at, incident.last_at,
       incident.ended_at, incident.count, ticket.ticket_id, ticket.number,
       coalesce(nullif(category.zh, ''), incident.category) AS category_zh,
       coalesce(nullif(category.en, ''), incident.category) AS category_en,
       coalesce(nullif(device.title_zh, ''), device.name) AS device_zh,
       coalesce(nullif(device.title_en, ''), device.name) AS device_en
FROM incident
JOIN device USING (device_id)
LEFT JOIN category ON category.code = incident.category
LEFT JOIN ticket_incident USING (incident_id)
LEFT JOIN ticket USING (ticket_id)
ORDER BY incident.last_at DESC, incident.incident_id DESC LIMIT %(limit)s

-- name: observations
SELECT seen.at, seen.source, seen.sensor, seen.severity, seen.count, seen.value, seen.unit, seen.ended_at,
       coalesce(nullif(device.title_zh, ''), device.name) AS device_zh,
       coalesce(nullif(device.title_en, ''), device.name) AS device_en
FROM ticket_incident
JOIN incident_observation AS seen USING (incident_id)
JOIN device USING (device_id)
WHERE ticket_incident.ticket_id = %(ticket_id)s
ORDER BY seen.at DESC LIMIT %(limit)s
