-- What people write may name them or others: it is sealed as who reported is, and deleted with it.
CREATE TABLE report_text (
    report_id  uuid NOT NULL REFERENCES report,
    part       text NOT NULL CHECK (part IN ('told', 'rating', 'answer')),
    n          integer NOT NULL DEFAULT 0,             -- of an answer its number
    key_id     text NOT NULL,
    nonce      bytea NOT NULL,
    sealed     bytea NOT NULL,                         -- JSON; bound to report, part and number
    PRIMARY KEY (report_id, part, n)
) WITH (fillfactor = 80);
CREATE INDEX report_text_key ON report_text (key_id);

-- What stands in the clear beside it: of reports that anybody may read (Open311), and where there is no key, the text with
-- the numbers and addresses struck out that can be recognised; else nothing.
CREATE INDEX report_in_clear ON report (report_id)
    WHERE NOT public AND (description <> '' OR address <> '' OR rating_note <> '');

-- An answer stays as it was given; only its words can be taken out, to be sealed or deleted.
DROP TRIGGER report_answer_append_only ON report_answer;
CREATE TRIGGER report_answer_append_only
    BEFORE UPDATE OF report_id, n, at, done, ticket_id, version OR DELETE ON report_answer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Whose photo a picture is, to show it only to those who may read what was told with it.
CREATE INDEX report_photos ON report USING gin (photos jsonb_path_ops) WHERE photos <> '[]';
