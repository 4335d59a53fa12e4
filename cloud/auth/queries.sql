-- name: account_by_name
SELECT account_id, name, title, password_hash, role, unit_code, disabled_at FROM account WHERE name = %(name)s

-- name: all_accounts
SELECT account_id, name, title, role, unit_code, created_at, disabled_at FROM account ORDER BY name

-- name: add_account
INSERT INTO account (account_id, name, title, password_hash, role, unit_code, created_at)
VALUES (%(account_id)s, %(name)s, %(title)s, %(password_hash)s, %(role)s, %(unit_code)s, %(at)s)

-- name: set_password
UPDATE account SET password_hash = %(password_hash)s WHERE account_id = %(account_id)s

-- name: disable_account
UPDATE account SET disabled_at = coalesce(disabled_at, %(at)s) WHERE account_id = %(account_id)s

-- name: unit_exists
SELECT 1 AS found FROM unit WHERE unit_code = %(unit_code)s

-- name: unit_codes
SELECT unit_code FROM unit ORDER BY unit_code

-- name: reach
WITH RECURSIVE below AS (
    SELECT unit_code FROM unit WHERE unit_code = %(unit_code)s
    UNION
    SELECT unit.unit_code FROM unit JOIN below ON unit.parent_code = below.unit_code
)
SELECT unit_code FROM below

-- name: add_session
INSERT INTO session (token_hash, account_id, csrf_token, address, created_at, last_seen_at, expires_at)
VALUES (%(token_hash)s, %(account_id)s, %(csrf_token)s, %(address)s, %(at)s, %(at)s, %(expires_at)s)

-- name: session_by_token
SELECT session.csrf_token, session.last_seen_at, session.expires_at,
       account.account_id, account.name, account.title, account.role, account.unit_code
FROM session JOIN account USING (account_id)
WHERE token_hash = %(token_hash)s AND expires_at > %(at)s AND disabled_at IS NULL

-- name: touch_session
UPDATE session SET last_seen_at = %(at)s WHERE token_hash = %(token_hash)s

-- name: end_session
DELETE FROM session WHERE token_hash = %(token_hash)s RETURNING account_id

-- name: end_sessions_of
DELETE FROM session WHERE account_id = %(account_id)s

-- name: drop_old_sessions
DELETE FROM session WHERE expires_at <= %(at)s

-- name: lock_failures
SELECT failures, locked_until FROM sign_in_failure WHERE name = %(name)s AND address = %(address)s FOR UPDATE

-- name: begin_failures
INSERT INTO sign_in_failure (name, address, failures, last_at, locked_until)
VALUES (%(name)s, %(address)s, 0, %(at)s, %(at)s)
ON CONFLICT (name, address) DO NOTHING

-- name: count_failure
UPDATE sign_in_failure SET failures = %(failures)s, last_at = %(at)s, locked_until = %(locked_until)s
WHERE name = %(name)s AND address = %(address)s

-- name: forget_failures
DELETE FROM sign_in_failure WHERE name = %(name)s AND (address = %(address)s OR %(address)s IS NULL)

-- name: drop_old_failures
DELETE FROM sign_in_failure WHERE last_at < %(before)s

-- name: add_audit
INSERT INTO audit (at, account_id, actor, action, address, detail)
VALUES (%(at)s, %(account_id)s, %(actor)s, %(action)s, %(address)s, %(detail)s)

-- name: add_token
INSERT INTO service_token (token_id, name, token_hash, role, unit_code, scopes, created_at, created_by, expires_at)
VALUES (%(token_id)s, %(name)s, %(token_hash)s, %(role)s, %(unit_code)s, %(scopes)s, %(created_at)s, %(created_by)s,
    %(expires_at)s)
ON CONFLICT (name) DO NOTHING

-- name: token_by_hash
SELECT token_id, name, role, unit_code, scopes, created_at, created_by, expires_at, last_used_at, revoked_at
FROM service_token WHERE token_hash = %(token_hash)s AND revoked_at IS NULL AND expires_at > %(at)s

-- name: touch_token
UPDATE service_token SET last_used_at = %(at)s WHERE token_id = %(token_id)s

-- name: tokens
SELECT token_id, name, role, unit_code, scopes, created_at, created_by, expires_at, last_used_at, revoked_at
FROM service_token
WHERE (%(token_id)s::uuid IS NULL OR token_id = %(token_id)s) AND (%(name)s::text IS NULL OR name = %(name)s)
ORDER BY name

-- name: revoke_token
UPDATE service_token SET revoked_at = %(at)s WHERE token_id = %(token_id)s AND revoked_at IS NULL

-- name: evidence_views
SELECT at, actor, address FROM audit
WHERE action = 'evidence_viewed' AND detail ->> 'sha256' = %(sha256)s
ORDER BY audit_id DESC LIMIT %(limit)s

-- name: account_by_identity
SELECT account_id, name, title, password_hash, role, unit_code, disabled_at
FROM account_identity JOIN account USING (account_id)
WHERE issuer = %(issuer)s AND subject = %(subject)s

-- name: link_identity
INSERT INTO account_identity (issuer, subject, account_id, linked_at)
VALUES (%(issuer)s, %(subject)s, %(account_id)s, %(at)s)
ON CONFLICT (issuer, subject) DO NOTHING

-- name: unlink_identities
DELETE FROM account_identity WHERE account_id = %(account_id)s
