-- name: new_ones
-- Those for which nobody has decided by which channels they go.
SELECT id AS notification_id, kind, unit_code, person, channel, payload, dedupe_key, created_at, due_at
FROM notification
WHERE laid_out_at IS NULL AND sent_at IS NULL AND due_at <= %(now)s
ORDER BY due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: units_above
WITH RECURSIVE above AS (
    SELECT unit_code, parent_code FROM unit WHERE unit_code = %(unit_code)s
    UNION
    SELECT unit.unit_code, unit.parent_code FROM unit JOIN above ON unit.unit_code = above.parent_code
)
SELECT unit_code FROM above

-- name: unit_names
SELECT unit_code, name_zh, name_en FROM unit WHERE unit_code = %(unit_code)s

-- name: add_delivery
INSERT INTO notification_delivery (notification_id, channel, next_at)
VALUES (%(notification_id)s, %(channel)s, %(next_at)s) ON CONFLICT DO NOTHING

-- name: mark_laid_out
UPDATE notification SET laid_out_at = %(now)s WHERE id = %(notification_id)s

-- name: claim
WITH due AS (
    SELECT notification_id, channel FROM notification_delivery
    WHERE channel = %(channel)s AND state = 'waiting' AND next_at <= %(now)s AND attempts < %(most)s
    ORDER BY next_at, notification_id LIMIT 1 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE notification_delivery AS delivery SET attempts = delivery.attempts + 1, next_at = %(until)s
    FROM due WHERE delivery.notification_id = due.notification_id AND delivery.channel = due.channel
    RETURNING delivery.notification_id, delivery.attempts AS tries
)
SELECT claimed.notification_id, claimed.tries, kind, unit_code, person, notification.channel, payload, dedupe_key,
       created_at, due_at
FROM claimed JOIN notification ON notification.id = claimed.notification_id

-- name: lock_notification
-- The row is the lock of its deliveries' ends: of two channels that end at once, the second sees the first.
SELECT id FROM notification WHERE id = %(notification_id)s FOR UPDATE

-- name: count_try
UPDATE notification SET attempts = attempts + 1 WHERE id = %(notification_id)s

-- name: mark_delivered
UPDATE notification_delivery SET state = 'sent', sent_at = %(now)s, error = ''
WHERE notification_id = %(notification_id)s AND channel = %(channel)s AND state = 'waiting'

-- name: mark_sent
UPDATE notification SET sent_at = %(now)s, given_up_at = NULL, error = ''
WHERE id = %(notification_id)s AND sent_at IS NULL

-- name: put_off
-- Only the try that is told of: a claim that ran out belongs to somebody else now.
UPDATE notification_delivery SET next_at = %(next_at)s, error = %(error)s, attempts = %(attempts)s
WHERE notification_id = %(notification_id)s AND channel = %(channel)s AND state = 'waiting' AND attempts = %(tries)s

-- name: end_delivery
UPDATE notification_delivery SET state = 'given_up', error = %(error)s
WHERE notification_id = %(notification_id)s AND channel = %(channel)s AND state = 'waiting'

-- name: give_up
UPDATE notification SET given_up_at = %(now)s, error = %(error)s
WHERE id = %(notification_id)s AND sent_at IS NULL AND given_up_at IS NULL AND NOT EXISTS (
    SELECT FROM notification_delivery
    WHERE notification_delivery.notification_id = notification.id AND state <> 'given_up')

-- name: worn_out
-- Claimed as often as allowed, and whoever claimed it last never said what came of it.
SELECT notification_id, channel FROM notification_delivery
WHERE state = 'waiting' AND attempts >= %(most)s AND next_at <= %(now)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: strayed
-- For channels that the settings know no more.
SELECT notification_id, channel FROM notification_delivery
WHERE state = 'waiting' AND channel <> ALL (%(channels)s) AND next_at <= %(now)s LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: figures
SELECT count(*) FILTER (WHERE sent_at IS NULL AND given_up_at IS NULL AND due_at <= %(now)s) AS waiting,
       coalesce(extract(epoch FROM %(now)s - min(due_at)
           FILTER (WHERE sent_at IS NULL AND given_up_at IS NULL AND due_at <= %(now)s)), 0)::double precision
           AS oldest_s,
       count(*) FILTER (WHERE given_up_at > %(since)s) AS given_up,
       count(*) FILTER (WHERE given_up_at > %(since)s AND kind IN ('call_out', 'called')) AS calls_given_up
FROM notification WHERE sent_at IS NULL

-- name: why_given_up
SELECT error, count(*) AS times FROM notification WHERE given_up_at > %(since)s
GROUP BY error ORDER BY count(*) DESC, error LIMIT 1

-- name: channels
SELECT channel, count(*) FILTER (WHERE state = 'sent') AS sent, count(*) FILTER (WHERE state = 'waiting') AS waiting,
       count(*) FILTER (WHERE state = 'given_up') AS given_up, max(sent_at) AS last_sent_at
FROM notification_delivery GROUP BY channel ORDER BY channel

-- name: listing
SELECT id, kind, unit_code, person, created_at, due_at, sent_at, given_up_at, attempts,
       coalesce(nullif(notification.error, ''),
           (SELECT min(delivery.error) FROM notification_delivery AS delivery
            WHERE delivery.notification_id = notification.id AND delivery.error <> ''), '') AS error
FROM notification
WHERE CASE %(state)s WHEN 'sent' THEN sent_at IS NOT NULL
                     WHEN 'given-up' THEN given_up_at IS NOT NULL
                     ELSE sent_at IS NULL AND given_up_at IS NULL END
ORDER BY due_at DESC, id DESC LIMIT %(limit)s

-- name: revive
UPDATE notification SET given_up_at = NULL, laid_out_at = NULL, error = '', due_at = %(now)s
WHERE given_up_at IS NOT NULL AND given_up_at > %(since)s RETURNING id

-- name: forget_deliveries
DELETE FROM notification_delivery WHERE notification_id = ANY (%(ids)s)
