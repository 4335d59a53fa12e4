-- name: begin
INSERT INTO idempotent_request (owner, key, request_hash, begun_at)
VALUES (%(owner)s, %(key)s, %(request_hash)s, %(now)s)
ON CONFLICT (owner, key) DO NOTHING

-- name: find
SELECT request_hash, begun_at, status, headers, body FROM idempotent_request
WHERE owner = %(owner)s AND key = %(key)s

-- name: keep
UPDATE idempotent_request SET status = %(status)s, headers = %(headers)s, body = %(body)s
WHERE owner = %(owner)s AND key = %(key)s

-- name: let_go
DELETE FROM idempotent_request WHERE owner = %(owner)s AND key = %(key)s AND status IS NULL

-- name: prune
DELETE FROM idempotent_request WHERE begun_at < %(before)s
