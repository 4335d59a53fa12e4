-- What a large district's league was counted from, kept for a minute: a million tickets are not counted for each look.
CREATE TABLE assessment_kept (
    asked    text PRIMARY KEY,                         -- category and unit that narrow it, or neither
    since    timestamptz NOT NULL,
    until    timestamptz NOT NULL,                     -- when it was counted
    figures  jsonb NOT NULL                            -- by unit
);
