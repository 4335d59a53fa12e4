-- Who an account is at the city's sign-in (OpenID Connect): issuer and subject, the two that never change.
CREATE TABLE account_identity (
    issuer      text NOT NULL,
    subject     text NOT NULL,
    account_id  uuid NOT NULL REFERENCES account ON DELETE CASCADE,
    linked_at   timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX account_identity_account ON account_identity (account_id);
