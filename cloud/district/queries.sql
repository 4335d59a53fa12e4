-- name: lock_units
LOCK TABLE unit IN SHARE ROW EXCLUSIVE MODE

-- name: store_unit
INSERT INTO unit (unit_code, parent_code, kind, name_zh, name_en, area, lead, phone)
VALUES (%(unit_code)s, %(parent_code)s, %(kind)s, %(name_zh)s, %(name_en)s, %(area)s::polygon, %(lead)s, %(phone)s)
ON CONFLICT (unit_code) DO UPDATE SET
    parent_code = excluded.parent_code, kind = excluded.kind, name_zh = excluded.name_zh,
    name_en = excluded.name_en, area = excluded.area, lead = excluded.lead, phone = excluded.phone

-- name: clear_other_areas
WITH gone AS (SELECT unit_code FROM unit WHERE unit_code <> ALL(%(kept)s)),
     cleared AS (UPDATE unit SET area = NULL FROM gone WHERE unit.unit_code = gone.unit_code AND area IS NOT NULL)
SELECT unit_code FROM gone ORDER BY unit_code

-- name: clear_rules
DELETE FROM routing_rule

-- name: clear_policies
DELETE FROM policy

-- name: clear_features
DELETE FROM map_feature

-- name: store_rule
INSERT INTO routing_rule (position, category, min_severity, target, call)
VALUES (%(position)s, %(category)s, %(min_severity)s, %(target)s, %(call)s)

-- name: store_policy
INSERT INTO policy (position, name, category, min_severity, ack_s, arrive_s, resolve_s)
VALUES (%(position)s, %(name)s, %(category)s, %(min_severity)s, %(ack_s)s, %(arrive_s)s, %(resolve_s)s)

-- name: store_feature
INSERT INTO map_feature (position, kind, name_zh, name_en, shape)
VALUES (%(position)s, %(kind)s, %(name_zh)s, %(name_en)s, %(shape)s::path)

-- name: all_units
SELECT unit_code, parent_code, kind, name_zh, name_en, area::text AS area, lead, phone FROM unit
ORDER BY array_position(%(kinds)s::text[], kind), unit_code

-- name: parents
SELECT unit_code, parent_code FROM unit

-- name: all_features
SELECT kind, name_zh, name_en, shape::text AS shape FROM map_feature ORDER BY position

-- name: grid_at
SELECT grid_at(%(lon)s, %(lat)s) AS unit_code
