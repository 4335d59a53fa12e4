"""The rows of a district's year, made by the database itself: statements with chance from a hash of the row's number.

``made`` holds what everything else of a ticket is made from. Chance is ``dice(n, what)``, the same in every run: a hash,
not a generator, so that each table can be written by itself, in any order and at the same time as the others.
"""

from __future__ import annotations

from typing import Final

_POLICY: Final = (
    '{"name": "ordinary-3-days", "ack_s": 900, "arrive_s": 7200, "resolve_s": 259200, "position": 7}'
)
ACT: Final = "camera.no_helmet"
#: Category, channel, severity.
CONDITIONS: Final = (
    ("camera.zone_occupied", "camera", 2),
    ("camera.standing_water", "camera", 3),
    ("camera.fire_lane_blocked", "camera", 3),
    ("camera.rubbish_overflow", "camera", 2),
    ("smoke.alarm", "sensor", 4),
    ("manhole.open", "sensor", 4),
    ("flood.water_level", "sensor", 3),
    ("air.quality_poor", "sensor", 2),
    ("building.tilt", "sensor", 3),
    ("street.parking", "hotline", 1),
    ("street.rubbish", "citizen", 1),
    ("street.stall", "grid", 1),
)

PREPARED: Final = (
    """
CREATE FUNCTION dice(n bigint, what integer) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (hashint8extended(n, what) & 1099511627775)::float8 / 1099511627776 $$
""",
    """
CREATE FUNCTION one_of(what text[], chance double precision) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT what[1 + floor(chance * cardinality(what))::integer] $$
""",
    """
CREATE FUNCTION in_hex(number bigint, digits integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT lpad(to_hex(number), digits, '0') $$
""",
    "CREATE UNLOGGED TABLE made_box (k integer, device_id integer, grid text, lon float8, lat float8)",
    "CREATE UNLOGGED TABLE made_category (k integer, category text, channel text, severity smallint, owners text[])",
)
DROPPED: Final = (
    "DROP TABLE made, made_box, made_category",
    "DROP FUNCTION dice, one_of, in_hex",
)

#: The newest tenth of the open ones' number is open altogether, the others lie anywhere in the last month.
MADE: Final = """
CREATE UNLOGGED TABLE made AS
SELECT n, box.device_id AS box, box.grid, box.lon, box.lat, category.category, category.channel, category.severity,
       mod(n, %(matters)s) + 1 AS matter, opened, is_open,
       stamp || '7' || in_hex(n & 4095, 3) || to_hex(tail) AS ident,
       stamp || '7' || in_hex(n & 4095, 3) || to_hex(tail | 1) AS incident,
       CASE WHEN NOT is_open
            THEN least(opened + least(-20 * ln(1 - dice(n, 2)), 200) * interval '1 hour' + interval '12 minutes',
                       %(now)s) END AS closed,
       CASE WHEN is_open THEN one_of('{dispatched,dispatched,acknowledged,on_site,verifying,open}', dice(n, 3))
            WHEN dice(n, 3) < 0.03 THEN 'void' ELSE 'closed' END AS state,
       one_of(category.owners, dice(n, 4)) AS unit,
       ARRAY[dice(n, 5) < 0.08, dice(n, 6) < 0.06, dice(n, 7) < 0.05] AS missed,
       dice(n, 8) < 0.03 AS reopened,
       CASE WHEN dice(n, 9) < %(reported)s THEN one_of('{1,3,4,4,5,5}', dice(n, 10))::smallint END AS stars
FROM generate_series(0, %(tickets)s - 1) AS n
CROSS JOIN LATERAL (SELECT %(tickets)s - n AS remaining) AS counted
CROSS JOIN LATERAL (
    SELECT remaining <= %(open_ones)s / 2 OR (remaining <= %(tickets)s / 12 AND dice(n, 1) < %(open_share)s * 6)
               AS is_open,
           %(now)s - %(days)s * interval '1 day' * (remaining::float8 / %(tickets)s) - interval '1 second' AS opened,
           (hashint8extended(n, 11) & 4611686018427387902) | (1::bigint << 63) AS tail
) AS drawn
CROSS JOIN LATERAL (SELECT in_hex(floor(extract(epoch FROM opened) * 1000)::bigint, 12) AS stamp) AS stamped
JOIN made_box AS box ON box.k = mod(n * 7, %(boxes)s)
JOIN made_category AS category ON category.k = mod(n, %(categories)s)
ORDER BY n
"""

#: By table, in the order in which they can be written.
OF_TICKETS: Final = {
    "matter": """
INSERT INTO matter (matter_id, category, lon, lat, first_seen_at) OVERRIDING SYSTEM VALUE
SELECT n + 1, category.category, box.lon + mod(n, 97) * 1e-6, box.lat, %(now)s - %(days)s * interval '1 day'
FROM generate_series(0, %(matters)s - 1) AS n
JOIN made_box AS box ON box.k = mod(n, %(boxes)s) JOIN made_category AS category ON category.k = mod(n, %(categories)s)
UNION ALL
SELECT %(matters)s + device_id, %(act)s, lon, lat, %(now)s - %(days)s * interval '1 day' FROM made_box
""",
    "incident": """
INSERT INTO incident (incident_id, matter_id, category, kind, severity, started_at, last_at, ended_at, observations,
    count, ticket_worthy, lon, lat, device_id, opened_at)
SELECT incident::uuid, matter, category, 'condition', severity, opened, opened, closed, %(per_ticket)s,
    %(per_ticket)s, true, lon, lat, box, opened
FROM made
""",
    "ticket": f"""
INSERT INTO ticket (ticket_id, number, matter_id, category, channel, severity, state, version, level, unit_code,
    unassigned, grid_code, lon, lat, policy, opened_at, dispatched_at, claimed_at, closed_at, reopenings, closed_by,
    overdue)
SELECT ident::uuid, 'DT-' || to_char(opened, 'YYYYMMDD') || '-' || lpad(n::text, 7, '0'), matter, category, channel,
    severity, state, CASE WHEN is_open THEN 3 ELSE 6 END, missed[1]::integer,
    CASE WHEN state = 'open' THEN 'centre' ELSE unit END, state = 'open', grid, lon, lat, '{_POLICY}', opened,
    CASE WHEN state <> 'open' THEN opened END,
    CASE WHEN is_open AND state = 'verifying' THEN opened + interval '1 hour' ELSE closed END, closed,
    reopened::integer, CASE WHEN state = 'closed' THEN 'look' END, true = ANY (missed)
FROM made
""",
    "ticket_incident": """
INSERT INTO ticket_incident (incident_id, ticket_id, linked_at) SELECT incident::uuid, ident::uuid, opened FROM made
""",
    "assignment": """
INSERT INTO assignment (ticket_id, unit_code, kind, assigned_at, assigned_by, because)
SELECT ident::uuid, part.unit_code, part.kind, opened, 'system', 'rule 1'
FROM made CROSS JOIN LATERAL (VALUES
    (unit, 'owner', state <> 'open'), ('traffic-police', 'called', mod(n, 3) = 0)
) AS part (unit_code, kind, has)
WHERE part.has
""",
    "ticket_event": """
INSERT INTO ticket_event (ticket_id, n, at, kind, actor_name, from_state, to_state, detail, hash)
SELECT ident::uuid, line.n, CASE WHEN line.n = 6 THEN closed ELSE opened + (line.n - 1) * interval '1 minute' END,
    line.kind, 'system', line.from_state, CASE WHEN line.n = last THEN state ELSE line.to_state END,
    CASE WHEN line.n = 1 THEN jsonb_build_object('incident_id', incident::uuid) ELSE '{}' END,
    decode(repeat('5a', 32), 'hex')
FROM made CROSS JOIN LATERAL (SELECT CASE WHEN is_open THEN 3 ELSE 6 END AS last) AS length
CROSS JOIN LATERAL (VALUES
    (1, 'opened', NULL, 'open'), (2, 'dispatched', 'open', 'dispatched'),
    (3, 'acknowledged', 'dispatched', 'acknowledged'), (4, 'arrived', 'acknowledged', 'on_site'),
    (5, 'resolved', 'on_site', 'verifying'), (6, 'closed', 'verifying', NULL)
) AS line (n, kind, from_state, to_state)
WHERE line.n <= last
""",
    # Of an open ticket nothing fires while this is measured.
    "clock": """
INSERT INTO clock (ticket_id, name, state, started_at, due_at, met_at, missed_at)
SELECT ident::uuid, promise.name,
    CASE WHEN late THEN 'missed' WHEN is_open THEN 'running' ELSE 'met' END, opened,
    CASE WHEN is_open AND NOT late THEN due + %(days)s * interval '1 day' ELSE due END,
    CASE WHEN NOT is_open THEN due + CASE WHEN late THEN interval '5 minutes' ELSE -interval '5 minutes' END END,
    CASE WHEN late THEN due END
FROM made
CROSS JOIN LATERAL (VALUES (1, 'ack', 15), (2, 'arrive', 120), (3, 'resolve', 4320)) AS promise (n, name, minutes)
CROSS JOIN LATERAL (SELECT opened + promise.minutes * interval '1 minute' AS due, missed[promise.n] AS late) AS told
""",
    "report": """
INSERT INTO report (report_id, receipt, secret_hash, channel, category, description, lon, lat, given_lon, given_lat,
    coordinate_system, occurred_at, received_at, ticket_id, stars, rated_at)
SELECT incident::uuid, 'R' || lpad(n::text, 9, '0'), decode(repeat('5a', 32), 'hex'), 'hotline', category,
    'somebody says so', lon, lat, lon, lat, 'wgs84', opened, opened, ident::uuid,
    CASE WHEN NOT is_open THEN stars END, closed
FROM made WHERE stars IS NOT NULL
""",
    "report_link": """
INSERT INTO report_link (report_id, n, ticket_id, at, because, actor_name)
SELECT incident::uuid, 1, ident::uuid, opened, 'attached', 'system' FROM made WHERE stars IS NOT NULL
""",
}

#: Passing acts, counted by device and hour: their number n says which.
_ACTS: Final = """
FROM generate_series(1, ceil(%(acts)s / %(per_hour)s::float8)::bigint) AS n
JOIN made_box AS box ON box.k = mod(n, %(boxes)s)
CROSS JOIN LATERAL (
    SELECT date_trunc('hour', %(now)s::timestamptz) - (n / %(boxes)s + 1) * interval '1 hour' AS hour
) AS begun
CROSS JOIN LATERAL (
    SELECT in_hex(extract(epoch FROM hour)::bigint * 1000, 12) || '7' || in_hex(device_id & 4095, 3) || '9' AS stamp,
           least(%(per_hour)s, %(acts)s - (n - 1) * %(per_hour)s) AS observations
) AS named
"""
INCIDENTS_OF_ACTS: Final = f"""
INSERT INTO incident (incident_id, matter_id, category, kind, hour, severity, started_at, last_at, ended_at,
    observations, count, ticket_worthy, lon, lat, device_id, opened_at)
SELECT (stamp || in_hex(n, 15))::uuid, %(matters)s + device_id, %(act)s, 'act', hour, 1, hour, hour, hour,
    observations, observations, false, lon, lat, device_id, hour
{_ACTS}
"""
OBSERVATIONS: Final = (
    """
INSERT INTO incident_observation (device_id, observation_id, incident_id, revision, category, source, sensor, severity,
    started_at, at, ended_at, count, value, unit, received_at)
SELECT box, (left(ident, 12) || '7' || in_hex(one, 3) || substr(ident, 17))::uuid, incident::uuid, 2, category,
    'bench', 'eye-1', severity, started, started, closed, 1, 0.31, 'm', started
FROM made CROSS JOIN generate_series(0, %(per_ticket)s - 1) AS one
CROSS JOIN LATERAL (SELECT opened + one * interval '1 minute' AS started) AS told
""",
    f"""
INSERT INTO incident_observation (device_id, observation_id, incident_id, revision, category, source, sensor, severity,
    started_at, at, count, received_at)
SELECT device_id, (stamp || in_hex(n * %(per_hour)s + one, 15))::uuid, incident_id, 0, %(act)s, 'bench', 'eye-1', 1,
    hour, hour, 1, hour
FROM (SELECT *, (stamp || in_hex(n, 15))::uuid AS incident_id {_ACTS}) AS act
CROSS JOIN LATERAL generate_series(0, observations - 1) AS one
""",
)
