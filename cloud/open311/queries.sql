-- name: requests
SELECT report.receipt, report.category, report.public, report.received_at, report.address, report.lon, report.lat,
       CASE WHEN report.public THEN report.description ELSE '' END AS description,
       coalesce(nullif(category.zh, '') || ' ' || category.en, report.category) AS service_name,
       ticket.state, ticket.closed_at, coalesce(unit.name_zh, '') AS agency,
       (SELECT max(at) FROM ticket_event WHERE ticket_event.ticket_id = report.ticket_id) AS changed_at,
       (SELECT due_at FROM clock
        WHERE clock.ticket_id = report.ticket_id AND clock.name = 'resolve' AND clock.state = 'running'
        ORDER BY round DESC LIMIT 1) AS due_at
FROM report
JOIN ticket USING (ticket_id)
LEFT JOIN category ON category.code = report.category
LEFT JOIN unit ON unit.unit_code = ticket.unit_code
WHERE (report.public OR %(all)s)
  AND (%(ids)s::text[] IS NULL OR report.receipt = ANY (%(ids)s))
  AND (%(codes)s::text[] IS NULL OR report.category = ANY (%(codes)s))
  AND (%(since)s::timestamptz IS NULL OR report.received_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR report.received_at <= %(until)s)
  AND (%(status)s::text[] IS NULL
       OR CASE WHEN ticket.state IN ('closed', 'void') THEN 'closed' ELSE 'open' END = ANY (%(status)s))
ORDER BY report.received_at DESC, report.report_id DESC
LIMIT %(limit)s OFFSET %(offset)s
