-- Photos that prove a ticket is done are sealed on the disk as those of reporters are, and stay as long as the ticket.

-- The file that holds the sealed photo, and the key that opens it, sealed itself and bound to ticket and photo. Nothing
-- there: the photo lies in the clear, as before and in a ticket centre without keys, until it is sealed.
ALTER TABLE ticket_photo
    ADD COLUMN file    text UNIQUE REFERENCES evidence,
    ADD COLUMN key_id  text,
    ADD COLUMN nonce   bytea,
    ADD COLUMN sealed  bytea,
    ADD CHECK ((file IS NULL) = (key_id IS NULL) AND (file IS NULL) = (nonce IS NULL) AND (file IS NULL) = (sealed IS NULL));
CREATE INDEX ticket_photo_key ON ticket_photo (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX ticket_photo_in_clear ON ticket_photo (ticket_id) WHERE file IS NULL;
