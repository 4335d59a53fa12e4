-- What was answered to requests that carried a key, for a day: the same request sent again is told the same and not
-- done again. A row without an answer is a request that goes on, or whose process died.
CREATE TABLE idempotent_request (
    owner         text NOT NULL,                -- whose key it is; '': nobody signed in
    key           text NOT NULL,
    request_hash  bytea NOT NULL,               -- SHA-256 of method, address and body
    begun_at      timestamptz NOT NULL,
    status        smallint,
    headers       jsonb,
    body          bytea,                        -- null also where the answer held a secret
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotent_request_begun ON idempotent_request (begun_at);
