-- What the sweeper looks for every second, found without reading the table.
CREATE INDEX ticket_review ON ticket (review_at) WHERE state = 'suspended';
DROP INDEX ticket_verifying;
CREATE INDEX ticket_verifying ON ticket ((blind_at IS NOT NULL), ticket_id) WHERE state = 'verifying';
