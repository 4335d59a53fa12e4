-- As for the readings they are made of (0095): no query asks for the mark that everybody sees a row, and to set it the
-- database went through and wrote every page of rollups a second time, once a minute under load. Rows that were computed
-- anew leave old ones behind, which are cleared away as ever.
ALTER TABLE reading_minute SET (autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0.5);
ALTER TABLE reading_hour SET (autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0.5);
