-- An alarm that is known and troubles people without need is put on the shelf for a while (ISA-18.2): of one box, of one
-- category, perhaps of one sensor. It is seen and kept as ever and calls no one; it comes off by itself.
ALTER TABLE quiet_time
    DROP CONSTRAINT quiet_time_kind_check,
    ADD COLUMN category text,                          -- of a shelved one
    ADD COLUMN sensor text,                            -- null: whatever sensor of the box
    ADD CONSTRAINT quiet_time_kind_check CHECK (kind IN ('maintenance', 'drill', 'shelved')),
    ADD CONSTRAINT quiet_time_shelved
        CHECK ((kind = 'shelved') = (category IS NOT NULL) AND (sensor IS NULL OR kind = 'shelved'));
