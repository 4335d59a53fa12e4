-- When this store was last restored from a backup. Boxes that come forward soon after are told of the new
-- incarnation at once, whether or not they have anything to send.
ALTER TABLE store ADD COLUMN restored_at timestamptz;
