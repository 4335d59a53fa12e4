-- name: clocks_of
SELECT name, round, state, started_at, due_at, remaining_s, met_at, missed_at, version
FROM clock WHERE ticket_id = %(ticket_id)s ORDER BY started_at, name, round

-- name: save_clock
-- Only over the version that was read: a clock that fired meanwhile is not set running again.
INSERT INTO clock (ticket_id, name, round, state, started_at, due_at, remaining_s, met_at, missed_at, version)
VALUES (%(ticket_id)s, %(name)s, %(round)s, %(state)s, %(started_at)s, %(due_at)s, %(remaining_s)s, %(met_at)s,
        %(missed_at)s, %(version)s)
ON CONFLICT (ticket_id, name, round) DO UPDATE SET
    state = excluded.state, due_at = excluded.due_at, remaining_s = excluded.remaining_s,
    met_at = excluded.met_at, missed_at = excluded.missed_at, version = excluded.version
WHERE clock.version < excluded.version

-- name: due_clocks
SELECT ticket_id, name, round FROM clock
WHERE state = 'running' AND due_at <= %(now)s ORDER BY due_at LIMIT %(limit)s

-- name: policies
SELECT position, name, category, min_severity, ack_s, arrive_s, resolve_s FROM policy ORDER BY position
