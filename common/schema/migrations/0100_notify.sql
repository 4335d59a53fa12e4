-- Sending what people are to be told: one delivery a channel, each claimed, tried, and marked for itself.

-- Where mail reaches whoever is on duty, and the unit where nobody is.
ALTER TABLE duty_shift ADD COLUMN email text NOT NULL DEFAULT '';
ALTER TABLE unit ADD COLUMN email text NOT NULL DEFAULT '';

-- `sent_at` is when the first channel took it. `given_up_at`: no channel did, and none is tried any more.
ALTER TABLE notification
    ADD COLUMN laid_out_at timestamptz,                 -- when its deliveries were written
    ADD COLUMN given_up_at timestamptz,
    ADD COLUMN error text NOT NULL DEFAULT '',
    ADD CHECK (given_up_at IS NULL OR sent_at IS NULL);
CREATE INDEX notification_new ON notification (due_at) WHERE laid_out_at IS NULL;
CREATE INDEX notification_given_up ON notification (given_up_at) WHERE given_up_at IS NOT NULL;

-- Who claims one moves `next_at` to the end of the claim in the same statement: if the process dies meanwhile, the
-- delivery is due again by itself, and the try has been counted.
CREATE TABLE notification_delivery (
    notification_id  bigint NOT NULL REFERENCES notification ON DELETE CASCADE,
    channel          text NOT NULL,                     -- as the settings call it
    state            text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'given_up')),
    next_at          timestamptz NOT NULL,
    attempts         integer NOT NULL DEFAULT 0,
    sent_at          timestamptz,
    error            text NOT NULL DEFAULT '',          -- of the last try
    PRIMARY KEY (notification_id, channel),
    CHECK ((state = 'sent') = (sent_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX notification_delivery_due ON notification_delivery (channel, next_at) WHERE state = 'waiting';
