-- name: incidents
SELECT count(*) FILTER (WHERE kind = 'condition') AS conditions,
       count(*) FILTER (WHERE kind = 'condition' AND ended_at IS NULL) AS open,
       count(*) FILTER (WHERE ticket_worthy) AS ticket_worthy,
       count(*) FILTER (WHERE kind = 'act') AS act_hours,
       coalesce(sum(count) FILTER (WHERE kind = 'act'), 0)::bigint AS acts
FROM incident

-- name: tickets
SELECT channel, state, count(*) AS tickets, count(dispatched_at) AS dispatched,
       count(*) FILTER (WHERE unassigned) AS unassigned, count(*) FILTER (WHERE overridden) AS overridden,
       count(*) FILTER (WHERE blind_at IS NOT NULL AND state = 'verifying') AS blind
FROM ticket GROUP BY channel, state

-- name: overdue
SELECT count(DISTINCT ticket_id) AS overdue FROM clock JOIN ticket USING (ticket_id)
WHERE missed_at IS NOT NULL AND ticket.state NOT IN ('closed', 'void', 'merged')

-- name: incidents_without_one_ticket
SELECT count(*) AS wrong FROM incident
WHERE ticket_worthy AND (SELECT count(*) FROM ticket_incident WHERE ticket_incident.incident_id = incident.incident_id) <> 1

-- name: open_matters
SELECT matter.matter_id, matter.category, matter.scope, matter.lon, matter.lat, count(*) AS tickets
FROM ticket JOIN matter USING (matter_id)
WHERE ticket.state NOT IN ('closed', 'void', 'merged')
GROUP BY matter.matter_id

-- name: stream_head
SELECT coalesce(max(event_id), 0) AS event_id FROM stream_event
