-- Two incidents of a matter turn out to be one when what lay between them is heard of late. The earlier one takes the
-- other in; histories that name the other are read with this.
CREATE TABLE incident_joined (
    incident_id  uuid PRIMARY KEY,
    into_id      uuid NOT NULL,
    at           timestamptz NOT NULL,
    CHECK (incident_id <> into_id)
);
