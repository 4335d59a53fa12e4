-- Rules as versions that change under a running gateway, what it remembers for them, and the times in which
-- observations call no one.

-- Every version of the rules, the newest in force. A gateway reads the newest number in the transaction of each batch;
-- whoever adds a version locks partition_lease (IN EXCLUSIVE MODE), so no batch is ever stepped by rules of which a
-- newer version was there when it began.
CREATE TABLE rule_set (
    version  integer PRIMARY KEY CHECK (version > 0),
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    author   text NOT NULL,
    note     text NOT NULL DEFAULT '',
    content  text NOT NULL                     -- YAML, as it was written
);
CREATE TRIGGER rule_set_append_only BEFORE UPDATE OR DELETE ON rule_set
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER rule_set_no_truncate BEFORE TRUNCATE ON rule_set
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Where each device stands under the rules that combine others, where that is more than quiet.
CREATE TABLE rule_device_state (
    rule_id    text NOT NULL,
    device_id  integer NOT NULL REFERENCES device,
    state      jsonb NOT NULL,                 -- gateway.rules.machine.RuleState
    PRIMARY KEY (rule_id, device_id)
) WITH (fillfactor = 50);

-- What measured rules remember of a series (parts of a window and the like), kept now and then. It need not be the
-- newest: the readings after it are in the store, and whoever takes over goes through them.
CREATE TABLE rule_record (
    series_id  integer NOT NULL REFERENCES series,
    rule_id    text NOT NULL,
    shape      text NOT NULL,                  -- what it was made for; another shape cannot go on with it
    content    bytea NOT NULL,
    PRIMARY KEY (series_id, rule_id)
) WITH (fillfactor = 50);

-- Maintenance of a device and drills (演练) of a device or a whole site: everything runs and is marked, no one is called.
CREATE TABLE quiet_time (
    quiet_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind      text NOT NULL CHECK (kind IN ('maintenance', 'drill')),
    site      text NOT NULL,
    device    text,                            -- null: all of the site
    from_at   timestamptz NOT NULL,
    until_at  timestamptz NOT NULL,
    reason    text NOT NULL,
    who       text NOT NULL,
    made_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_by  text,                            -- who ended it before its time
    CHECK (from_at <= until_at),
    CHECK (device IS NOT NULL OR kind = 'drill')
);
CREATE INDEX quiet_time_until ON quiet_time (until_at);

-- Empty: it counts. 'maintenance' or 'drill': it was seen in such a time, and calls no one.
ALTER TABLE observation ADD COLUMN mark text NOT NULL DEFAULT '';
ALTER TABLE observation_inbox ADD COLUMN mark text NOT NULL DEFAULT '';
ALTER TABLE incident_observation ADD COLUMN mark text NOT NULL DEFAULT '';
ALTER TABLE incident ADD COLUMN mark text NOT NULL DEFAULT '';
-- Acts of a drill are counted apart.
DROP INDEX incident_hour;
CREATE UNIQUE INDEX incident_hour ON incident (matter_id, hour, mark) WHERE kind = 'act';
