-- Readings are never changed and go with their whole chunk, so nothing is to be cleaned up behind them. By default the
-- database goes through every page of a chunk all the same, once a minute through those that came, to mark that everybody
-- sees its rows: each page was written twice, beside the batches. No query asks for that mark. Chunks that outlive two
-- hundred million transactions are gone through then, as ever. What the planner has to know of a chunk changes little
-- while it fills.
ALTER TABLE reading SET (autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0.5);
