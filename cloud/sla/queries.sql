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
-- Those for storms stand before the others; outside a storm they are passed over.
SELECT position, name, category, min_severity, ack_s, arrive_s, resolve_s, hours, storm, escalate FROM policy
ORDER BY storm DESC, position

-- name: ladder
SELECT level, name, name_zh, name_en, target, lead FROM escalation_level ORDER BY level

-- name: put_off
INSERT INTO escalation_due (ticket_id, clock, round, target, due_at, again_s)
VALUES (%(ticket_id)s, %(clock)s, %(round)s, %(target)s, %(due_at)s, %(again_s)s)
ON CONFLICT (ticket_id, clock, round) DO UPDATE SET target = excluded.target, due_at = excluded.due_at,
    again_s = excluded.again_s

-- name: drop_pending
DELETE FROM escalation_due WHERE ticket_id = %(ticket_id)s AND clock = %(clock)s AND round = %(round)s

-- name: pending_due
SELECT ticket_id, clock, round FROM escalation_due WHERE due_at <= %(now)s ORDER BY due_at LIMIT %(limit)s

-- name: pending
SELECT ticket_id, clock, round, target, due_at, again_s FROM escalation_due
WHERE ticket_id = %(ticket_id)s AND clock = %(clock)s AND round = %(round)s

-- name: reviews_due
SELECT ticket.ticket_id FROM ticket
WHERE ticket.state = 'suspended' AND ticket.review_at <= %(now)s
  AND NOT EXISTS (
    SELECT FROM review_reminder
    WHERE review_reminder.ticket_id = ticket.ticket_id AND review_reminder.review_at = ticket.review_at
      AND review_reminder.told_at > %(again)s)
ORDER BY ticket.review_at LIMIT %(limit)s

-- name: note_reminder
INSERT INTO review_reminder (ticket_id, review_at, told_at, times) VALUES (%(ticket_id)s, %(review_at)s, %(now)s, 1)
ON CONFLICT (ticket_id) DO UPDATE SET told_at = excluded.told_at, review_at = excluded.review_at,
    times = CASE WHEN review_reminder.review_at = excluded.review_at THEN review_reminder.times + 1 ELSE 1 END
RETURNING times

-- name: last_reminder
SELECT told_at FROM review_reminder WHERE ticket_id = %(ticket_id)s AND review_at = %(review_at)s
