-- Recurring places: passing acts become a ticket only as a stretch where they keep happening.

CREATE TABLE stretch (
    code      text PRIMARY KEY,
    position  integer NOT NULL,
    name_zh   text NOT NULL,
    name_en   text NOT NULL,
    points    jsonb NOT NULL DEFAULT '[]',             -- [longitude, latitude], WGS-84; empty: by its cameras alone
    within_m  double precision NOT NULL CHECK (within_m > 0),
    cameras   text[] NOT NULL DEFAULT '{}'             -- site/device, wherever they stand
);

CREATE TABLE hour_band (
    name      text PRIMARY KEY,
    position  integer NOT NULL,
    name_zh   text NOT NULL,
    name_en   text NOT NULL,
    days      smallint[] NOT NULL,                     -- ISO weekdays
    hours     jsonb NOT NULL                           -- [begin, end], seconds after the district's midnight
);

CREATE TABLE recurring_rule (
    position         integer PRIMARY KEY,
    category         text NOT NULL,
    bands            text[] NOT NULL,
    per_h            double precision NOT NULL CHECK (per_h > 0),   -- acts in an hour looked, of one camera
    over_s           integer NOT NULL CHECK (over_s > 0),
    least_acts       integer NOT NULL CHECK (least_acts > 0),
    least_looked_s   integer NOT NULL CHECK (least_looked_s > 0),
    verify_looked_s  integer NOT NULL CHECK (verify_looked_s > 0),
    verify_within_s  integer NOT NULL CHECK (verify_within_s > 0)
);

-- What a ticket of a recurring place was opened upon, frozen with it, and what was measured since the last claim.
CREATE TABLE recurring_place (
    ticket_id    uuid PRIMARY KEY REFERENCES ticket,
    category     text NOT NULL,
    stretch      text NOT NULL,
    stretch_zh   text NOT NULL,
    stretch_en   text NOT NULL,
    band         jsonb NOT NULL,                       -- name, name_zh, name_en, days, hours
    rule         jsonb NOT NULL,                       -- the rule as it stood
    cameras      jsonb NOT NULL,                       -- [device_id, sensor] of those that saw any
    worst        jsonb NOT NULL,                       -- the worst acts, with their pictures
    opened_upon  jsonb NOT NULL,                       -- the rate
    claimed_at   timestamptz,                          -- of which claim what follows is
    measured_at  timestamptz,
    before       jsonb,
    after        jsonb,
    verdict      text CHECK (verdict IN ('clean', 'dirty', 'blind', 'wait'))
);

-- Whether an instant lies in a band, by the district's time: UTC+8, without summer time since 1991.
CREATE FUNCTION in_band(at timestamptz, days smallint[], begins integer[], ends integer[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT extract(isodow FROM (at AT TIME ZONE 'UTC') + interval '8 hours')::smallint = ANY (days)
       AND EXISTS (
        SELECT FROM unnest(begins, ends) AS span (begins_s, ends_s)
        WHERE mod(floor(extract(epoch FROM at))::bigint + 28800, 86400) >= span.begins_s
          AND mod(floor(extract(epoch FROM at))::bigint + 28800, 86400) < span.ends_s)
$$;
