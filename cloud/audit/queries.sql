-- name: only_one
SELECT pg_try_advisory_xact_lock(7119417121) AS it

-- name: newest_anchor
SELECT anchor_id, at, heads, hash FROM audit_anchor ORDER BY anchor_id DESC LIMIT 1

-- name: take_heads
INSERT INTO audit_anchored (ticket_id, n, hash, anchor_id)
SELECT ticket.ticket_id, ticket_event.n, ticket_event.hash, %(anchor_id)s
FROM ticket JOIN ticket_event ON ticket_event.ticket_id = ticket.ticket_id AND ticket_event.n = ticket.version
WHERE NOT EXISTS (
    SELECT FROM audit_anchored
    WHERE audit_anchored.ticket_id = ticket.ticket_id AND audit_anchored.n = ticket.version)

-- name: add_anchor
INSERT INTO audit_anchor (anchor_id, at, heads, hash) VALUES (%(anchor_id)s, %(at)s, %(heads)s, %(hash)s)

-- name: anchors
SELECT anchor_id, at, heads, hash FROM audit_anchor WHERE anchor_id > %(after)s ORDER BY anchor_id LIMIT %(limit)s

-- name: heads
SELECT ticket_id, n, hash FROM audit_anchored
WHERE anchor_id = %(anchor_id)s AND (%(after)s::uuid IS NULL OR ticket_id > %(after)s)
ORDER BY ticket_id LIMIT %(limit)s

-- name: tickets
SELECT ticket_id, number, version FROM ticket
WHERE %(after)s::uuid IS NULL OR ticket_id > %(after)s
ORDER BY ticket_id LIMIT %(limit)s

-- name: lines
SELECT ticket_id, n, at, kind, actor_id, actor_name, from_state, to_state, note, detail::text AS detail, hash
FROM ticket_event WHERE ticket_id = ANY (%(tickets)s) ORDER BY ticket_id, n

-- name: false_heads
SELECT audit_anchored.anchor_id, audit_anchored.n, ticket.number
FROM audit_anchored JOIN ticket USING (ticket_id)
LEFT JOIN ticket_event ON ticket_event.ticket_id = audit_anchored.ticket_id AND ticket_event.n = audit_anchored.n
WHERE ticket_event.hash IS DISTINCT FROM audit_anchored.hash
ORDER BY audit_anchored.anchor_id, ticket.number LIMIT %(limit)s
