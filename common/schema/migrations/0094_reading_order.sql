-- Readings of a series come in order, so that the newest belongs behind all others of its stretch. With the newest first
-- each went before them: pages were split in halves that never filled up again, and the index was 40 % larger. Nearly
-- all entries differ, so there is nothing to gain by looking for equal ones at each full page.
-- Takes about a minute per hundred million readings, during which no gateway commits; boxes keep what they have.
DROP INDEX reading_series;
CREATE INDEX reading_series ON reading (series_id, captured_at) WITH (deduplicate_items = off);
