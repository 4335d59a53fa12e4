-- Rejects keep the bytes as they came; of a packet that was taken in but for some series, these are those.
ALTER TABLE reject ADD COLUMN series text[];      -- sensor/metric; null: the whole message is rejected

-- A device that was quarantined and let go: what it did before does not count against it again.
ALTER TABLE device ADD COLUMN released_at timestamptz;
