-- name: tickets
-- Of a ticket that was blind the time until it was closed or reopened does not count against anybody.
SELECT {key} AS key, count(*) AS tickets,
       count(*) FILTER (WHERE ticket.state = 'closed') AS closed,
       count(*) FILTER (WHERE ticket.state = 'closed' AND ticket.level = 0) AS lowest,
       count(*) FILTER (WHERE ticket.claimed_at IS NOT NULL OR ticket.reopenings > 0) AS claimed,
       count(*) FILTER (WHERE ticket.reopenings > 0) AS reopened,
       count(*) FILTER (WHERE ticket.overridden) AS overridden,
       coalesce(sum(extract(epoch FROM ticket.closed_at - ticket.opened_at) - blind.seconds)
           FILTER (WHERE ticket.state = 'closed'), 0)::float8 AS close_s,
       coalesce(sum(blind.seconds), 0)::float8 AS blind_s
FROM ticket LEFT JOIN unit ON unit.unit_code = ticket.unit_code
CROSS JOIN LATERAL (
    SELECT coalesce(sum(extract(epoch FROM coalesce(looked.at, %(now)s) - told.at)), 0) AS seconds
    FROM ticket_event AS told
    LEFT JOIN LATERAL (
        SELECT at FROM ticket_event AS later
        WHERE later.ticket_id = told.ticket_id AND later.n > told.n AND later.to_state <> 'verifying'
        ORDER BY later.n LIMIT 1
    ) AS looked ON true
    WHERE (ticket.blind_at IS NOT NULL OR ticket.reopenings > 0)
      AND told.ticket_id = ticket.ticket_id AND told.kind = 'blind'
) AS blind
WHERE {chosen} AND (%(units)s::text[] IS NULL OR ticket.unit_code = ANY (%(units)s))
GROUP BY 1

-- name: clocks
-- Who had to acknowledge and to arrive is whoever owned the ticket when that clock began.
SELECT {key} AS key,
       count(*) FILTER (WHERE clock.name = 'ack') AS ack,
       count(*) FILTER (WHERE clock.name = 'ack' AND clock.missed_at IS NULL) AS ack_met,
       count(*) FILTER (WHERE clock.name = 'arrive') AS arrive,
       count(*) FILTER (WHERE clock.name = 'arrive' AND clock.missed_at IS NULL) AS arrive_met,
       count(*) FILTER (WHERE clock.name = 'resolve') AS resolve,
       count(*) FILTER (WHERE clock.name = 'resolve' AND clock.missed_at IS NULL) AS resolve_met
FROM ticket JOIN clock USING (ticket_id)
LEFT JOIN LATERAL (
    SELECT assignment.unit_code FROM assignment
    WHERE clock.name <> 'resolve' AND assignment.ticket_id = ticket.ticket_id AND assignment.kind = 'owner'
      AND assignment.assigned_at <= clock.started_at
    ORDER BY assignment.assigned_at DESC, assignment.assignment_id DESC LIMIT 1
) AS owner ON true
LEFT JOIN unit ON unit.unit_code = coalesce(owner.unit_code, ticket.unit_code)
WHERE {chosen} AND clock.name <> 'assign' AND (clock.met_at IS NOT NULL OR clock.missed_at IS NOT NULL)
  AND (%(units)s::text[] IS NULL OR unit.unit_code = ANY (%(units)s))
GROUP BY 1

-- name: calls
SELECT {key} AS key, count(*) AS calls,
       count(*) FILTER (WHERE assignment.arrived_at <= assignment.arrive_due_at) AS answered
FROM ticket JOIN assignment USING (ticket_id) JOIN unit ON unit.unit_code = assignment.unit_code
WHERE {chosen} AND assignment.kind = 'called' AND assignment.arrive_due_at IS NOT NULL
  AND (assignment.arrived_at IS NOT NULL OR assignment.arrive_due_at <= %(now)s)
  AND (%(units)s::text[] IS NULL OR unit.unit_code = ANY (%(units)s))
GROUP BY 1

-- name: stars
-- A reporter rates whoever owns the ticket, a street the unit that it names.
SELECT {key} AS key, count(*) AS ratings, sum(given.stars)::bigint AS stars
FROM ticket JOIN (
    SELECT ticket_id, NULL AS unit_code, stars FROM report WHERE stars IS NOT NULL
    UNION ALL
    SELECT ticket_id, unit_code, stars FROM unit_rating
) AS given USING (ticket_id)
JOIN unit ON unit.unit_code = coalesce(given.unit_code, ticket.unit_code)
WHERE {chosen} AND (%(units)s::text[] IS NULL OR unit.unit_code = ANY (%(units)s))
GROUP BY 1

-- name: below
WITH RECURSIVE below AS (
    SELECT unit_code FROM unit WHERE unit_code = %(unit_code)s
    UNION
    SELECT unit.unit_code FROM unit JOIN below ON unit.parent_code = below.unit_code
)
SELECT unit_code FROM below

-- name: cells
SELECT grid_code, category, count(*) FILTER (WHERE opened_at >= %(since)s) AS lately,
       count(*) FILTER (WHERE opened_at < %(since)s) AS before
FROM ticket
WHERE opened_at >= %(baseline)s AND opened_at < %(until)s AND state NOT IN ('void', 'merged') AND grid_code IS NOT NULL
  AND (%(category)s::text IS NULL OR category = %(category)s)
GROUP BY grid_code, category

-- name: unsolved
SELECT ticket.ticket_id, ticket.number, ticket.category,
       coalesce(nullif(category.zh, ''), ticket.category) AS category_zh,
       coalesce(nullif(category.en, ''), ticket.category) AS category_en,
       ticket.severity, ticket.state, ticket.level, ticket.unit_code, coalesce(unit.name_zh, '') AS unit_zh,
       coalesce(unit.name_en, '') AS unit_en, ticket.grid_code, ticket.opened_at, ticket.reopenings, ticket.review_at,
       (SELECT count(*) FROM clock WHERE clock.ticket_id = ticket.ticket_id AND clock.missed_at IS NOT NULL)
           AS clocks_missed
FROM ticket LEFT JOIN category ON category.code = ticket.category LEFT JOIN unit ON unit.unit_code = ticket.unit_code
WHERE ticket.state NOT IN ('closed', 'void', 'merged') AND ticket.opened_at < %(before)s
  AND (%(after_at)s::timestamptz IS NULL OR (ticket.opened_at, ticket.ticket_id) > (%(after_at)s, %(after_id)s::uuid))
  AND (%(units)s::text[] IS NULL OR ticket.unit_code = ANY (%(units)s))
ORDER BY ticket.opened_at, ticket.ticket_id LIMIT %(limit)s

-- name: names
SELECT unit_code, name_zh, name_en FROM unit

-- name: category_names
SELECT code, coalesce(nullif(zh, ''), code) AS zh, coalesce(nullif(en, ''), code) AS en FROM category

-- name: kept
SELECT since, until, figures FROM assessment_kept WHERE asked = %(asked)s

-- name: keep
INSERT INTO assessment_kept (asked, since, until, figures) VALUES (%(asked)s, %(since)s, %(until)s, %(figures)s)
ON CONFLICT (asked) DO UPDATE SET since = excluded.since, until = excluded.until, figures = excluded.figures

-- name: is_mine
SELECT pg_try_advisory_xact_lock(%(key)s) AS it

-- name: rate
INSERT INTO unit_rating (ticket_id, unit_code, stars, note, at, account_id, rated_by)
VALUES (%(ticket_id)s, %(unit_code)s, %(stars)s, %(note)s, %(at)s, %(account_id)s, %(rated_by)s)
ON CONFLICT (ticket_id, unit_code) DO NOTHING

-- name: took_part
SELECT 1 AS it FROM assignment WHERE ticket_id = %(ticket_id)s AND unit_code = %(unit_code)s LIMIT 1
