-- name: is_of_release
SELECT to_regclass('notification_delivery') IS NOT NULL AS it

-- name: district
SELECT (SELECT count(*) FROM unit) AS units, (SELECT count(*) FROM routing_rule) AS rules,
       (SELECT count(*) FROM account WHERE disabled_at IS NULL) AS accounts,
       (SELECT count(*) FROM account WHERE disabled_at IS NULL AND role = 'admin') AS admins

-- name: why_failed
SELECT error, count(*) AS rows FROM inbox_failed GROUP BY error ORDER BY count(*) DESC LIMIT 1
