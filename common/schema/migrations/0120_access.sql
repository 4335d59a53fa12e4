-- What programs sign in with, and who looked at a picture.

-- A token acts as a role of a unit, and of what that may do only where its scopes reach. Only its hash is kept:
-- whoever reads the table can use none.
CREATE TABLE service_token (
    token_id      uuid PRIMARY KEY,
    name          text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,46}[a-z0-9])?$'),
    token_hash    bytea NOT NULL UNIQUE,        -- SHA-256
    role          text NOT NULL CHECK (role IN ('viewer', 'handler', 'dispatcher', 'supervisor', 'admin')),
    unit_code     text NOT NULL REFERENCES unit,
    scopes        text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at    timestamptz NOT NULL,
    created_by    text NOT NULL,
    expires_at    timestamptz NOT NULL,
    last_used_at  timestamptz,
    revoked_at    timestamptz
);

CREATE INDEX audit_evidence ON audit ((detail ->> 'sha256'), audit_id) WHERE action = 'evidence_viewed';
