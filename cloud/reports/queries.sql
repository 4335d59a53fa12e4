-- name: open_tickets_near
-- Something was last told of a ticket when it was opened, seen by a device, or reported.
SELECT ticket.ticket_id, ticket.category, ticket.lon, ticket.lat, ticket.opened_at,
       greatest(ticket.opened_at, seen.last_at, told.last_at) AS last_at
FROM ticket
CROSS JOIN LATERAL (
    SELECT max(incident.last_at) AS last_at FROM ticket_incident JOIN incident USING (incident_id)
    WHERE ticket_incident.ticket_id = ticket.ticket_id
) AS seen
CROSS JOIN LATERAL (
    SELECT max(report.occurred_at) AS last_at FROM report WHERE report.ticket_id = ticket.ticket_id
) AS told
WHERE ticket.state NOT IN ('closed', 'void', 'merged')
  AND ticket.lat BETWEEN %(south)s AND %(north)s AND ticket.lon BETWEEN %(west)s AND %(east)s
ORDER BY ticket.opened_at, ticket.ticket_id

-- name: insert_report
INSERT INTO report (report_id, receipt, secret_hash, channel, source, external_id, category, description, address, lon,
    lat, given_lon, given_lat, coordinate_system, occurred_at, received_at, account_id, public, photos, photos_sealed, ticket_id)
VALUES (%(report_id)s, %(receipt)s, %(secret_hash)s, %(channel)s, %(source)s, %(external_id)s, %(category)s,
    %(description)s, %(address)s, %(lon)s, %(lat)s, %(given_lon)s, %(given_lat)s, %(coordinate_system)s,
    %(occurred_at)s, %(received_at)s, %(account_id)s, %(public)s, %(photos)s, %(photos_sealed)s,
    %(ticket_id)s)

-- name: insert_link
INSERT INTO report_link (report_id, n, ticket_id, at, because, actor_id, actor_name)
SELECT %(report_id)s, coalesce(max(n), 0) + 1, %(ticket_id)s, %(at)s, %(because)s, %(actor_id)s, %(actor_name)s
FROM report_link WHERE report_id = %(report_id)s

-- name: insert_suggestion
INSERT INTO report_suggestion (report_id, ticket_id, score, parts, made_at)
VALUES (%(report_id)s, %(ticket_id)s, %(score)s, %(parts)s, %(made_at)s)

-- name: insert_person
INSERT INTO report_person (report_id, key_id, nonce, sealed)
VALUES (%(report_id)s, %(key_id)s, %(nonce)s, %(sealed)s)

-- name: person
SELECT key_id, nonce, sealed FROM report_person WHERE report_id = %(report_id)s

-- name: sealed_with_others
SELECT report_id, key_id, nonce, sealed FROM report_person
WHERE key_id <> %(key_id)s ORDER BY report_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: reseal
UPDATE report_person SET key_id = %(key_id)s, nonce = %(nonce)s, sealed = %(sealed)s
WHERE report_id = %(report_id)s

-- name: keys_in_use
SELECT key_id, count(*) AS texts
FROM (
    SELECT key_id FROM report_person UNION ALL SELECT key_id FROM report_text UNION ALL SELECT key_id FROM report_photo
    UNION ALL SELECT key_id FROM ticket_photo WHERE key_id IS NOT NULL
) AS sealed
GROUP BY key_id ORDER BY key_id

-- name: insert_text
INSERT INTO report_text (report_id, part, n, key_id, nonce, sealed)
VALUES (%(report_id)s, %(part)s, %(n)s, %(key_id)s, %(nonce)s, %(sealed)s)
ON CONFLICT (report_id, part, n) DO UPDATE SET key_id = excluded.key_id, nonce = excluded.nonce, sealed = excluded.sealed

-- name: texts
SELECT report_id, part, n, key_id, nonce, sealed FROM report_text WHERE report_id = ANY (%(report_ids)s)

-- name: texts_sealed_with_others
SELECT report_id, part, n, key_id, nonce, sealed FROM report_text
WHERE key_id <> %(key_id)s ORDER BY report_id, part, n LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: texts_in_clear
SELECT report_id, description, address, rating_note AS rating,
       coalesce((SELECT jsonb_object_agg(n, note) FROM report_answer
                 WHERE report_answer.report_id = report.report_id AND note <> ''), '{}') AS answers
FROM report WHERE report_id = ANY (%(report_ids)s)

-- name: reports_in_clear
SELECT report_id FROM report
WHERE NOT public AND (description <> '' OR address <> '' OR rating_note <> '')
ORDER BY report_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: count_in_clear
SELECT count(*) FROM report WHERE NOT public AND (description <> '' OR address <> '' OR rating_note <> '')

-- name: take_out_words
UPDATE report SET description = '', address = '', rating_note = '' WHERE report_id = ANY (%(report_ids)s)

-- name: take_out_answers
UPDATE report_answer SET note = '' WHERE report_id = ANY (%(report_ids)s) AND note <> ''

-- name: forget_texts
-- What is sealed and what is in the clear each by its own index: most reports have neither any more.
WITH due AS (
    SELECT report.report_id, report.public FROM report_text JOIN report USING (report_id) JOIN ticket USING (ticket_id)
    WHERE ticket.closed_at < %(before)s
    UNION
    SELECT report.report_id, report.public FROM report JOIN ticket USING (ticket_id)
    WHERE NOT public AND (description <> '' OR address <> '' OR rating_note <> '') AND ticket.closed_at < %(before)s
    LIMIT 1000
), gone AS (
    DELETE FROM report_text USING due WHERE report_text.report_id = due.report_id
)
SELECT report_id, public FROM due

-- name: tickets_of_photo
SELECT DISTINCT ticket_id FROM report WHERE photos <> '[]' AND photos @> %(named)s

-- name: forget_persons
-- Whoever reported a matter that is over; a report in a merged ticket stands in the one that goes on.
DELETE FROM report_person USING report, ticket
WHERE report.report_id = report_person.report_id AND ticket.ticket_id = report.ticket_id
  AND ticket.closed_at < %(before)s

-- name: begin_request
INSERT INTO report_request (scope, key_hash, body_mac, salt, at)
VALUES (%(scope)s, %(key_hash)s, %(body_mac)s, %(salt)s, %(at)s)
ON CONFLICT (scope, key_hash) DO NOTHING

-- name: request
SELECT body_mac, salt, answer FROM report_request WHERE scope = %(scope)s AND key_hash = %(key_hash)s

-- name: answer_request
UPDATE report_request SET answer = %(answer)s WHERE scope = %(scope)s AND key_hash = %(key_hash)s

-- name: forget_requests
DELETE FROM report_request WHERE at < %(before)s

-- name: report
SELECT report.*, ticket.number AS ticket_number, ticket.state AS ticket_state, ticket.unit_code, ticket.grid_code,
       ticket.claimed_at, ticket.closed_at, ticket.version AS ticket_version, ticket.opened_at,
       coalesce(nullif(category.zh, ''), report.category) AS category_zh,
       coalesce(nullif(category.en, ''), report.category) AS category_en,
       EXISTS (SELECT FROM report_person WHERE report_person.report_id = report.report_id) AS has_person,
       (SELECT max(at) FROM ticket_event WHERE ticket_event.ticket_id = report.ticket_id) AS changed_at,
       unit.name_zh AS unit_zh, unit.name_en AS unit_en
FROM report
JOIN ticket USING (ticket_id)
LEFT JOIN category ON category.code = report.category
LEFT JOIN unit ON unit.unit_code = ticket.unit_code
WHERE (%(report_id)s::uuid IS NULL OR report.report_id = %(report_id)s)
  AND (%(receipt)s::text IS NULL OR report.receipt = %(receipt)s)
  AND (%(ticket_id)s::uuid IS NULL OR report.ticket_id = %(ticket_id)s)
  AND (%(channel)s::text IS NULL OR report.channel = %(channel)s)
  AND (%(before_at)s::timestamptz IS NULL
       OR (report.received_at, report.report_id) < (%(before_at)s, %(before_id)s::uuid))
ORDER BY report.received_at DESC, report.report_id DESC
LIMIT %(limit)s

-- name: links
SELECT n, ticket_id, ticket.number, at, because, actor_name
FROM report_link JOIN ticket USING (ticket_id) WHERE report_id = %(report_id)s ORDER BY n

-- name: answers
SELECT n, at, done, note FROM report_answer WHERE report_id = %(report_id)s ORDER BY n

-- name: insert_answer
INSERT INTO report_answer (report_id, n, at, done, note, ticket_id, version)
SELECT %(report_id)s, coalesce(max(n), 0) + 1, %(at)s, %(done)s, %(note)s, %(ticket_id)s, %(version)s
FROM report_answer WHERE report_id = %(report_id)s RETURNING n

-- name: rate
UPDATE report SET stars = %(stars)s, rating_note = %(note)s, rated_at = %(at)s
WHERE report_id = %(report_id)s AND stars IS NULL

-- name: seen_by_devices
SELECT EXISTS (SELECT FROM ticket_incident WHERE ticket_id = %(ticket_id)s) AS it

-- name: suggestions
-- Of a ticket, open ones that its reports may be about as well, and those whose reports may be about it.
SELECT other.ticket_id, other.number, other.category, other.state, found.report_id, found.score, found.parts,
       coalesce(nullif(category.zh, ''), other.category) AS category_zh,
       coalesce(nullif(category.en, ''), other.category) AS category_en
FROM (
    SELECT report_suggestion.ticket_id, report_suggestion.report_id, score, parts
    FROM report_suggestion JOIN report USING (report_id) WHERE report.ticket_id = %(ticket_id)s
    UNION ALL
    SELECT report.ticket_id, report.report_id, score, parts
    FROM report_suggestion JOIN report USING (report_id) WHERE report_suggestion.ticket_id = %(ticket_id)s
) AS found
JOIN ticket AS other ON other.ticket_id = found.ticket_id
LEFT JOIN category ON category.code = other.category
WHERE other.ticket_id <> %(ticket_id)s AND other.state NOT IN ('closed', 'void', 'merged')
ORDER BY found.score DESC, other.ticket_id, found.report_id

-- name: move_incidents
UPDATE ticket_incident SET ticket_id = %(to_id)s
WHERE ticket_id = %(from_id)s AND (%(only)s::uuid[] IS NULL OR incident_id = ANY (%(only)s))
RETURNING incident_id AS id

-- name: move_reports
UPDATE report SET ticket_id = %(to_id)s
WHERE ticket_id = %(from_id)s AND (%(only)s::uuid[] IS NULL OR report_id = ANY (%(only)s))
RETURNING report_id AS id

-- name: insert_merge
INSERT INTO ticket_merge (ticket_id, into_id, merged_at, merged_by, note, incidents, reports)
VALUES (%(ticket_id)s, %(into_id)s, %(at)s, %(by)s, %(note)s, %(incidents)s, %(reports)s)

-- name: merge_of
SELECT merge_id, incidents, reports FROM ticket_merge WHERE ticket_id = %(ticket_id)s AND split_at IS NULL

-- name: note_split
UPDATE ticket_merge SET split_at = %(at)s, split_by = %(by)s, split_note = %(note)s WHERE merge_id = %(merge_id)s

-- name: matter
SELECT category, lon, lat FROM matter WHERE matter_id = %(matter_id)s
