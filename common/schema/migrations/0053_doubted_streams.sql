-- What device.streams_forgotten_until said when the stream's first packet came: of what the box numbered up to then
-- nobody knows whether it was taken in before. Null: no stream of the device had been forgotten.
ALTER TABLE device_stream ADD COLUMN doubted_until timestamptz;
