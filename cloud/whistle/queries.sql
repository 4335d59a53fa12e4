-- name: call
UPDATE assignment SET arrive_due_at = %(due_at)s, watch_at = %(due_at)s
WHERE ticket_id = %(ticket_id)s AND unit_code = %(unit_code)s AND kind = 'called' AND ended_at IS NULL

-- name: call_of
SELECT assignment_id, ticket_id, unit_code, assigned_at, arrive_due_at, arrived_at, missed_at, watch_at
FROM assignment
WHERE ticket_id = %(ticket_id)s AND unit_code = %(unit_code)s AND kind = 'called' AND ended_at IS NULL

-- name: arrive
UPDATE assignment SET arrived_at = %(arrived_at)s, reported_at = %(reported_at)s, arrived_by = %(arrived_by)s,
    arrived_lon = %(lon)s, arrived_lat = %(lat)s, distance_m = %(distance_m)s, watch_at = NULL
WHERE assignment_id = %(assignment_id)s AND arrived_at IS NULL

-- name: calls
SELECT assignment.unit_code, coalesce(unit.name_zh, assignment.unit_code) AS unit_zh,
       coalesce(unit.name_en, assignment.unit_code) AS unit_en, assigned_at AS called_at, assigned_by AS called_by,
       because, arrive_due_at, arrived_at, reported_at, arrived_by, distance_m, missed_at
FROM assignment LEFT JOIN unit USING (unit_code)
WHERE ticket_id = %(ticket_id)s AND assignment.kind = 'called' AND ended_at IS NULL ORDER BY assignment_id

-- name: units
SELECT unit_code FROM unit WHERE unit_code = ANY (%(codes)s)

-- name: insert_conference
INSERT INTO conference (conference_id, ticket_id, held_at, recorded_at, account_id, recorded_by, present, findings,
    decision)
VALUES (%(conference_id)s, %(ticket_id)s, %(held_at)s, %(recorded_at)s, %(account_id)s, %(recorded_by)s, %(present)s,
    %(findings)s, %(decision)s)

-- name: insert_task
INSERT INTO conference_task (task_id, conference_id, ticket_id, n, unit_code, what, due_at, watch_at)
VALUES (%(task_id)s, %(conference_id)s, %(ticket_id)s, %(n)s, %(unit_code)s, %(what)s, %(due_at)s, %(due_at)s)

-- name: conferences
SELECT conference_id, held_at, recorded_at, recorded_by, present, findings, decision
FROM conference WHERE ticket_id = %(ticket_id)s ORDER BY held_at, conference_id

-- name: tasks
SELECT task_id, conference_id, n, conference_task.unit_code, coalesce(unit.name_zh, conference_task.unit_code) AS unit_zh,
       coalesce(unit.name_en, conference_task.unit_code) AS unit_en, what, due_at, done_at, done_by, done_note,
       missed_at
FROM conference_task LEFT JOIN unit USING (unit_code)
WHERE ticket_id = %(ticket_id)s ORDER BY due_at, task_id

-- name: task
SELECT task_id, ticket_id, unit_code, what, due_at, done_at, missed_at, watch_at FROM conference_task
WHERE task_id = %(task_id)s

-- name: finish_task
UPDATE conference_task SET done_at = %(now)s, done_by = %(by)s, done_note = %(note)s, watch_at = NULL
WHERE task_id = %(task_id)s AND done_at IS NULL

-- name: due_calls
SELECT ticket_id, unit_code FROM assignment WHERE watch_at <= %(now)s ORDER BY watch_at LIMIT %(limit)s

-- name: due_tasks
SELECT ticket_id, task_id FROM conference_task WHERE watch_at <= %(now)s ORDER BY watch_at LIMIT %(limit)s

-- name: watch_call
UPDATE assignment SET watch_at = %(watch_at)s, missed_at = coalesce(missed_at, %(missed_at)s)
WHERE assignment_id = %(assignment_id)s

-- name: watch_task
UPDATE conference_task SET watch_at = %(watch_at)s, missed_at = coalesce(missed_at, %(missed_at)s)
WHERE task_id = %(task_id)s

-- name: insert_advice
INSERT INTO advice (advice_id, ticket_id, adviser, unit_code, question, asked_at, asked_by)
VALUES (%(advice_id)s, %(ticket_id)s, %(adviser)s, %(unit_code)s, %(question)s, %(now)s, %(by)s)

-- name: answer_advice
UPDATE advice SET answer = %(answer)s, answered_at = %(now)s, answered_by = %(by)s
WHERE advice_id = %(advice_id)s AND ticket_id = %(ticket_id)s AND answer IS NULL

-- name: advice
SELECT advice_id, adviser, unit_code, question, asked_at, asked_by, answer, answered_at, answered_by
FROM advice WHERE ticket_id = %(ticket_id)s ORDER BY asked_at, advice_id
