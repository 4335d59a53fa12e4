-- Photos of reporters are sealed as their words are, and deleted with them.

-- A sealed photo is a file of its own among the evidence, named by the hash of its sealed bytes. The key that opens it,
-- and nothing else, stands here, sealed itself: without this row the file is noise.
CREATE TABLE report_photo (
    report_id  uuid NOT NULL REFERENCES report,
    sha256     text NOT NULL,                          -- of the photo as it is shown; report.photos names it
    file       text NOT NULL UNIQUE REFERENCES evidence,
    key_id     text NOT NULL,
    nonce      bytea NOT NULL,
    sealed     bytea NOT NULL,                         -- the photo's own key; bound to report and photo
    PRIMARY KEY (report_id, sha256)
) WITH (fillfactor = 80);
CREATE INDEX report_photo_key ON report_photo (key_id);
CREATE INDEX report_photo_sha256 ON report_photo (sha256);

-- Those of before, and of a ticket centre without keys, lie in the clear until they are sealed.
ALTER TABLE report ADD COLUMN photos_sealed boolean NOT NULL DEFAULT false;
CREATE INDEX report_photos_in_clear ON report (report_id) WHERE photos <> '[]' AND NOT photos_sealed;

-- Files that are to be removed from the folder of evidence: nothing names them any more, or nothing does yet and nothing
-- will when the process that wrote them was killed. The row goes when the file is gone.
CREATE TABLE evidence_removal (
    sha256      text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    media_type  text NOT NULL,
    due_at      timestamptz NOT NULL
);
CREATE INDEX evidence_removal_due ON evidence_removal (due_at);
