-- name: shifts
SELECT unit_code, person, phone, begins_at, ends_at, position, email FROM duty_shift
WHERE (%(unit_code)s::text IS NULL OR unit_code = %(unit_code)s)
  AND ends_at > %(since)s AND begins_at < %(until)s
ORDER BY unit_code, begins_at, position, person LIMIT %(limit)s

-- name: whole_rota
SELECT person, phone, begins_at, ends_at, position, email FROM duty_shift
WHERE unit_code = %(unit_code)s ORDER BY begins_at, position, person, ends_at, phone, email

-- name: lock_unit
SELECT unit_code FROM unit WHERE unit_code = %(unit_code)s FOR UPDATE

-- name: keep_tails
-- What goes on after the time that is written anew keeps its end.
INSERT INTO duty_shift (unit_code, person, phone, begins_at, ends_at, position, email)
SELECT unit_code, person, phone, %(until)s, ends_at, position, email FROM duty_shift
WHERE unit_code = %(unit_code)s AND begins_at < %(until)s AND ends_at > %(until)s

-- name: cut_heads
UPDATE duty_shift SET ends_at = %(since)s
WHERE unit_code = %(unit_code)s AND begins_at < %(since)s AND ends_at > %(since)s

-- name: clear
DELETE FROM duty_shift WHERE unit_code = %(unit_code)s AND begins_at >= %(since)s AND begins_at < %(until)s

-- name: add
INSERT INTO duty_shift (unit_code, person, phone, begins_at, ends_at, position, email)
VALUES (%(unit_code)s, %(person)s, %(phone)s, %(begins_at)s, %(ends_at)s, %(position)s, %(email)s)

-- name: units_on_duty
-- Those that must always have somebody, and those that have a rota: once begun, it should not end unnoticed.
SELECT unit_code FROM unit
WHERE duty OR EXISTS (
    SELECT FROM duty_shift WHERE duty_shift.unit_code = unit.unit_code AND ends_at > %(since)s)
ORDER BY unit_code

-- name: unit
SELECT unit_code, lead, phone, email FROM unit WHERE unit_code = %(unit_code)s

-- name: notify
INSERT INTO notification (kind, unit_code, person, channel, payload, dedupe_key, created_at, due_at)
VALUES (%(kind)s, %(unit_code)s, %(person)s, %(channel)s, %(payload)s, %(dedupe_key)s, %(now)s, %(due_at)s)
ON CONFLICT (dedupe_key) DO NOTHING
