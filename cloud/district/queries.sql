-- name: lock_units
LOCK TABLE unit IN SHARE ROW EXCLUSIVE MODE

-- name: store_unit
INSERT INTO unit (unit_code, parent_code, kind, name_zh, name_en, area, lead, phone, email, hours,
    duty)
VALUES (%(unit_code)s, %(parent_code)s, %(kind)s, %(name_zh)s, %(name_en)s, %(area)s::polygon, %(lead)s, %(phone)s,
    %(email)s, %(hours)s, %(duty)s)
ON CONFLICT (unit_code) DO UPDATE SET
    parent_code = excluded.parent_code, kind = excluded.kind, name_zh = excluded.name_zh,
    name_en = excluded.name_en, area = excluded.area, lead = excluded.lead, phone = excluded.phone,
    email = excluded.email, hours = excluded.hours, duty = excluded.duty

-- name: clear_stand_ins
UPDATE unit SET after_hours = NULL WHERE after_hours IS NOT NULL

-- name: store_unit_hours
UPDATE unit SET hours = %(hours)s, after_hours = %(after_hours)s WHERE unit_code = %(unit_code)s

-- name: store_stand_in
UPDATE unit SET after_hours = %(after_hours)s WHERE unit_code = %(unit_code)s

-- name: clear_other_areas
WITH gone AS (SELECT unit_code FROM unit WHERE unit_code <> ALL(%(kept)s)),
     cleared AS (UPDATE unit SET area = NULL FROM gone WHERE unit.unit_code = gone.unit_code AND area IS NOT NULL)
SELECT unit_code FROM gone ORDER BY unit_code

-- name: clear_rules
DELETE FROM routing_rule

-- name: clear_policies
DELETE FROM policy

-- name: clear_calendars
DELETE FROM calendar

-- name: clear_ladder
DELETE FROM escalation_level

-- name: clear_storm_plan
DELETE FROM storm_plan

-- name: store_calendar
INSERT INTO calendar (name, days, hours, holidays) VALUES (%(name)s, %(days)s, %(hours)s, %(holidays)s)

-- name: store_level
INSERT INTO escalation_level (level, name, name_zh, name_en, target, lead)
VALUES (%(level)s, %(name)s, %(name_zh)s, %(name_en)s, %(target)s, %(lead)s)

-- name: store_storm_plan
INSERT INTO storm_plan (categories, raise_to, rule_categories, rule_incidents, rule_within_s, rule_area, rule_quiet_s)
VALUES (%(categories)s, %(raise_to)s, %(rule_categories)s, %(rule_incidents)s, %(rule_within_s)s, %(rule_area)s,
    %(rule_quiet_s)s)

-- name: clear_features
DELETE FROM map_feature

-- name: store_rule
INSERT INTO routing_rule (position, category, min_severity, target, call, place, during, outside)
VALUES (%(position)s, %(category)s, %(min_severity)s, %(target)s, %(call)s, %(place)s, %(during)s, %(outside)s)

-- name: store_policy
INSERT INTO policy (position, name, category, min_severity, ack_s, arrive_s, resolve_s, hours, storm, escalate)
VALUES (%(position)s, %(name)s, %(category)s, %(min_severity)s, %(ack_s)s, %(arrive_s)s, %(resolve_s)s, %(hours)s,
    %(storm)s, %(escalate)s)

-- name: store_feature
INSERT INTO map_feature (position, kind, name_zh, name_en, shape)
VALUES (%(position)s, %(kind)s, %(name_zh)s, %(name_en)s, %(shape)s::path)

-- name: all_units
SELECT unit_code, parent_code, kind, name_zh, name_en, area::text AS area, lead, phone, email, hours,
       after_hours, duty
FROM unit
ORDER BY array_position(%(kinds)s::text[], kind), unit_code

-- name: parents
SELECT unit_code, parent_code FROM unit

-- name: all_features
SELECT kind, name_zh, name_en, shape::text AS shape FROM map_feature ORDER BY position

-- name: policies
SELECT position, name, category, min_severity, ack_s, arrive_s, resolve_s, hours, storm, escalate FROM policy
ORDER BY storm DESC, position

-- name: routing
SELECT position, category, min_severity, target, call, place, during, outside FROM routing_rule ORDER BY position

-- name: stand_ins
SELECT unit_code, hours, after_hours FROM unit WHERE after_hours IS NOT NULL ORDER BY unit_code

-- name: storm_plan
SELECT categories, raise_to, rule_categories, rule_incidents, rule_within_s, rule_area, rule_quiet_s FROM storm_plan

-- name: grid_at
SELECT grid_at(%(lon)s, %(lat)s) AS unit_code
