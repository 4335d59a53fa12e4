-- What a district says of matters: which categories make one, what raises a severity, and where harm would be worst.

-- Categories that tell of one matter, the leading one first: a gauge that rises and the water in a picture.
CREATE TABLE fusion_family (
    position    integer PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    categories  text[] NOT NULL CHECK (cardinality(categories) > 1),
    radius_m    double precision NOT NULL CHECK (radius_m > 0),
    rejoin_s    double precision NOT NULL CHECK (rejoin_s >= 0),
    stale_s     double precision NOT NULL CHECK (stale_s > 0)
);

-- Schools, hospitals, underpasses, metro entrances: who is near them is harmed sooner.
CREATE TABLE vulnerable_place (
    position    integer PRIMARY KEY,
    kind        text NOT NULL,
    name_zh     text NOT NULL,
    name_en     text NOT NULL,
    lon         double precision NOT NULL,             -- WGS-84
    lat         double precision NOT NULL,
    radius_m    double precision NOT NULL CHECK (radius_m > 0),
    categories  text[] NOT NULL                        -- patterns; what else happens there harms nobody sooner
);

-- The first rule that fits and raises decides; the gravest stand first. Null: it does not ask for that.
CREATE TABLE severity_rule (
    position      integer PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    category      text NOT NULL,
    raise_to      smallint NOT NULL CHECK (raise_to BETWEEN 2 AND 4),
    lasts_s       integer CHECK (lasts_s > 0),
    observations  integer CHECK (observations > 0),
    devices       integer CHECK (devices > 0),
    reports       integer CHECK (reports > 0),
    level         double precision,
    near          text[] NOT NULL DEFAULT '{}'         -- kinds of vulnerable places
);

-- The highest value that any phase told, where the newest told less: what was reached counts, in whatever order it came.
ALTER TABLE incident_observation ADD COLUMN peak double precision;
