-- The district as data: its units and their areas, who gets what, by when; the accounts of its people.

-- Centre → street → community → grid is one tree; departments stand beside it, below the centre or alone.
CREATE TABLE unit (
    unit_code    text PRIMARY KEY CHECK (unit_code ~ '^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$'),
    parent_code  text REFERENCES unit,
    kind         text NOT NULL CHECK (kind IN ('centre', 'street', 'community', 'grid', 'department')),
    name_zh      text NOT NULL,
    name_en      text NOT NULL,
    area         polygon,                       -- WGS-84 degrees, (longitude, latitude); every grid has one
    -- PostgreSQL's geometry takes 1e-6 for zero, in products of lengths too: in degrees that blurs borders by
    -- tens of metres. In millionths of a degree it is far below a millimetre. Ask grid_at(), not this.
    area_micro   polygon GENERATED ALWAYS AS (polygon(path(area) * point(1000000, 0))) STORED,
    lead         text NOT NULL DEFAULT '',
    phone        text NOT NULL DEFAULT '',
    CHECK (kind <> 'centre' OR parent_code IS NULL),
    CHECK (kind IN ('centre', 'department') OR parent_code IS NOT NULL)
);
CREATE INDEX unit_parent ON unit (parent_code);
CREATE INDEX unit_area ON unit USING gist (area_micro);

-- The grid that owns a place, in WGS-84 degrees; null outside the district. The box comparison is what the
-- index answers. A point on a shared border belongs to the grid whose code comes first, so that it always has
-- one owner.
CREATE FUNCTION grid_at(lon double precision, lat double precision) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT unit_code
    FROM unit, point(lon * 1000000, lat * 1000000) AS place
    WHERE kind = 'grid' AND area_micro && polygon(box(place, place)) AND area_micro @> place
    ORDER BY unit_code LIMIT 1
$$;

-- What is drawn under the units so that people find their way: a river, a main road, a park.
CREATE TABLE map_feature (
    position  integer PRIMARY KEY,
    kind      text NOT NULL CHECK (kind IN ('river', 'road', 'park')),
    name_zh   text NOT NULL,
    name_en   text NOT NULL,
    shape     path NOT NULL                     -- open for lines, closed for areas
);

-- The first rule that fits owns the ticket; `call` names the departments whistled onto it at once.
CREATE TABLE routing_rule (
    position      integer PRIMARY KEY,
    category      text NOT NULL,                -- a code, a family such as flood.*, or *
    min_severity  smallint NOT NULL DEFAULT 1 CHECK (min_severity BETWEEN 1 AND 4),
    target        text NOT NULL CHECK (target ~ '^(department:.+|level:(centre|street|community|grid))$'),
    call          text[] NOT NULL DEFAULT '{}'  -- unit codes of departments
);

-- The first policy that fits sets the clocks, seconds after the ticket was opened.
CREATE TABLE policy (
    position      integer PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    category      text NOT NULL,
    min_severity  smallint NOT NULL DEFAULT 1 CHECK (min_severity BETWEEN 1 AND 4),
    ack_s         integer NOT NULL CHECK (ack_s > 0),
    arrive_s      integer NOT NULL CHECK (arrive_s >= ack_s),
    resolve_s     integer NOT NULL CHECK (resolve_s >= arrive_s)
);

-- People. A role acts on its unit and everything below it.
CREATE TABLE account (
    account_id     uuid PRIMARY KEY,
    name           text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,46}[a-z0-9])?$'),
    title          text NOT NULL DEFAULT '',
    password_hash  text NOT NULL,               -- Argon2id
    role           text NOT NULL CHECK (role IN ('viewer', 'handler', 'dispatcher', 'supervisor', 'admin')),
    unit_code      text NOT NULL REFERENCES unit,
    created_at     timestamptz NOT NULL DEFAULT now(),
    disabled_at    timestamptz
);

-- Only the hash of the token that the browser holds; whoever reads the table can sign in as nobody.
CREATE TABLE session (
    token_hash    bytea PRIMARY KEY,            -- SHA-256
    account_id    uuid NOT NULL REFERENCES account ON DELETE CASCADE,
    csrf_token    text NOT NULL,
    address       text NOT NULL,
    created_at    timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL
);
CREATE INDEX session_account ON session (account_id);
CREATE INDEX session_expiry ON session (expires_at);

-- Failed sign-ins of one name from one address: the wait grows with their number.
CREATE TABLE sign_in_failure (
    name       text NOT NULL,
    address    text NOT NULL,
    failures   integer NOT NULL,
    last_at    timestamptz NOT NULL,
    locked_until timestamptz NOT NULL,
    PRIMARY KEY (name, address)
);

-- Who came, who went, who changed whom. Rows are added, never changed.
CREATE TABLE audit (
    audit_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    account_id  uuid,                           -- null: nobody was signed in
    actor       text NOT NULL,                  -- the name as it was given
    action      text NOT NULL,
    address     text NOT NULL DEFAULT '',
    detail      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_time ON audit (at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are added, never changed', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
