-- name: plan
SELECT categories, raise_to, rule_categories, rule_incidents, rule_within_s, rule_area, rule_quiet_s FROM storm_plan

-- name: going_on
SELECT storm_id, unit_code, by_rule, began_at, began_by, reason, ends_at, ended_at, ended_by, end_reason
FROM storm WHERE ended_at IS NULL AND (%(units)s::text[] IS NULL OR unit_code = ANY (%(units)s))
ORDER BY began_at, storm_id

-- name: newest
SELECT storm_id, unit_code, by_rule, began_at, began_by, reason, ends_at, ended_at, ended_by, end_reason
FROM storm ORDER BY began_at DESC, storm_id DESC LIMIT %(limit)s

-- name: one
SELECT storm_id, unit_code, by_rule, began_at, began_by, reason, ends_at, ended_at, ended_by, end_reason
FROM storm WHERE storm_id = %(storm_id)s

-- name: begin
INSERT INTO storm (storm_id, unit_code, by_rule, began_at, began_by, reason, ends_at)
VALUES (%(storm_id)s, %(unit_code)s, %(by_rule)s, %(began_at)s, %(began_by)s, %(reason)s, %(ends_at)s)
ON CONFLICT (unit_code) WHERE ended_at IS NULL DO NOTHING

-- name: end
UPDATE storm SET ended_at = greatest(%(now)s, began_at), ended_by = %(by)s, end_reason = %(reason)s
WHERE storm_id = %(storm_id)s AND ended_at IS NULL

-- name: add_event
INSERT INTO storm_event (storm_id, n, at, kind, actor_id, actor_name, reason)
SELECT %(storm_id)s, coalesce(max(n), 0) + 1, %(at)s, %(kind)s, %(actor_id)s, %(actor_name)s, %(reason)s
FROM storm_event WHERE storm_id = %(storm_id)s

-- name: events
SELECT storm_id, n, at, kind, actor_id, actor_name, reason FROM storm_event
WHERE storm_id = ANY (%(storm_ids)s) ORDER BY storm_id, n

-- name: areas_over
-- Incidents that began lately, by the unit of a kind that they lie in; those before the area's last storm ended
-- do not begin another.
WITH RECURSIVE above AS (
    SELECT incident.started_at, unit.unit_code, unit.parent_code, unit.kind
    FROM incident JOIN unit ON unit.unit_code = grid_at(incident.lon, incident.lat)
    WHERE incident.kind = 'condition' AND incident.started_at > %(since)s AND incident.mark = ''
      AND incident.category = ANY (%(codes)s)
    UNION ALL
    SELECT above.started_at, unit.unit_code, unit.parent_code, unit.kind
    FROM unit JOIN above ON unit.unit_code = above.parent_code
)
SELECT unit_code, count(*) AS incidents FROM above
WHERE kind = %(area)s AND started_at > coalesce(
    (SELECT max(ended_at) FROM storm WHERE storm.unit_code = above.unit_code), '-infinity')
GROUP BY unit_code HAVING count(*) >= %(least)s ORDER BY unit_code

-- name: areas_busy
WITH RECURSIVE above AS (
    SELECT unit.unit_code, unit.parent_code
    FROM incident JOIN unit ON unit.unit_code = grid_at(incident.lon, incident.lat)
    WHERE incident.kind = 'condition' AND incident.last_at > %(since)s AND incident.mark = ''
      AND incident.category = ANY (%(codes)s)
    UNION
    SELECT unit.unit_code, unit.parent_code FROM unit JOIN above ON unit.unit_code = above.parent_code
)
SELECT DISTINCT unit_code FROM above

-- name: unit_kind
SELECT kind FROM unit WHERE unit_code = %(unit_code)s

-- name: categories_open
SELECT DISTINCT category FROM ticket WHERE state NOT IN ('closed', 'void', 'merged') AND severity < %(raise_to)s

-- name: to_raise
-- The district's centre is everywhere, also where no grid is.
SELECT ticket_id FROM ticket
WHERE state NOT IN ('closed', 'void', 'merged') AND severity < %(raise_to)s AND category = ANY (%(codes)s)
  AND ((SELECT kind = 'centre' FROM unit WHERE unit_code = %(unit_code)s)
       OR grid_code IN (
        WITH RECURSIVE below AS (
            SELECT %(unit_code)s::text AS unit_code
            UNION
            SELECT unit.unit_code FROM unit JOIN below ON unit.parent_code = below.unit_code
        )
        SELECT unit_code FROM below))
ORDER BY ticket_id LIMIT %(limit)s
