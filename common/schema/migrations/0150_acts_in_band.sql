-- What is counted of a recurring place: the acts of a category that some boxes saw between two instants, within a band.
-- Acts of a box are a matter of their own. PostgreSQL plans it as if it stood in the statement that asks.
CREATE FUNCTION acts_in_band(
    of_category text, boxes integer[], since timestamptz, until timestamptz,
    days smallint[], begins integer[], ends integer[]
) RETURNS SETOF incident_observation
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT seen.*
    FROM device
    JOIN matter ON matter.category = of_category AND matter.scope = device.site || '/' || device.name
    JOIN incident USING (matter_id)
    JOIN incident_observation AS seen USING (incident_id)
    WHERE device.device_id = ANY (boxes) AND incident.kind = 'act' AND incident.mark = ''
      AND incident.hour >= since - interval '1 hour' AND incident.hour < until
      AND seen.mark = '' AND seen.started_at >= since AND seen.started_at < until
      AND in_band(seen.started_at, days, begins, ends)
$$;
