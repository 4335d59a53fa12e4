-- name: place
-- The grid of a point and everything above it; the centre also where no grid owns the point.
WITH RECURSIVE above AS (
    SELECT unit_code, parent_code, kind FROM unit
    WHERE unit_code = grid_at(%(lon)s::double precision, %(lat)s::double precision)
    UNION
    SELECT unit.unit_code, unit.parent_code, unit.kind FROM unit JOIN above ON unit.unit_code = above.parent_code
)
SELECT kind, unit_code FROM above
UNION
SELECT kind, unit_code FROM unit WHERE kind = 'centre'

-- name: rules
SELECT position, category, min_severity, target, call, place, during, outside FROM routing_rule ORDER BY position

-- name: units
SELECT unit_code, hours, after_hours FROM unit

-- name: unit_hours
SELECT hours FROM unit WHERE unit_code = %(unit_code)s

-- name: organisation
-- A grid without an area left the district's file: no place leads to it.
SELECT unit_code, parent_code, kind FROM unit WHERE kind <> 'grid' OR area IS NOT NULL

-- name: unit
SELECT unit_code, kind, name_zh, name_en FROM unit WHERE unit_code = %(unit_code)s

-- name: end_ownership
UPDATE assignment SET ended_at = %(now)s WHERE ticket_id = %(ticket_id)s AND kind = 'owner' AND ended_at IS NULL

-- name: assign
INSERT INTO assignment (ticket_id, unit_code, kind, assigned_at, assigned_by, because)
VALUES (%(ticket_id)s, %(unit_code)s, %(kind)s, %(now)s, %(assigned_by)s, %(because)s)
ON CONFLICT (ticket_id, unit_code) WHERE kind = 'called' AND ended_at IS NULL DO NOTHING

-- name: withdraw_calls
UPDATE assignment SET ended_at = %(now)s, watch_at = NULL
WHERE ticket_id = %(ticket_id)s AND kind = 'called' AND ended_at IS NULL AND arrived_at IS NULL
  AND assigned_by = 'system' AND unit_code <> ALL (%(wanted)s::text[])
RETURNING unit_code
