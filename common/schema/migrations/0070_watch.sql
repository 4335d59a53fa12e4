-- Who works, so that whoever else works notices when nobody does.

-- When the holder of the lease last could do all of its work: hear the broker and commit. It is written with the
-- renewals of the lease, and stays behind when the holder dies, hears nothing or commits nothing.
ALTER TABLE partition_lease ADD COLUMN working_at timestamptz;

-- Workers of the ticket centre, each with when it last looked into the inbox and did what it found there.
CREATE TABLE worker_heartbeat (
    worker  text PRIMARY KEY,                  -- host:process:number
    at      timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Gateways that the ticket centre found silent: one row a partition that ever was. device_id: the box in whose name the
-- ticket is opened, always the same one, so that one partition has one matter.
CREATE TABLE gateway_silence (
    partition       text PRIMARY KEY,
    device_id       integer NOT NULL REFERENCES device,
    observation_id  uuid NOT NULL,
    revision        integer NOT NULL,
    silent_since    timestamptz NOT NULL,
    ended_at        timestamptz                -- null: it is silent
);
