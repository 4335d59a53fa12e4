-- What lists, the map and the assessment ask for, found without reading a year of tickets.

-- A ticket's units, also those that handed it on; until now only who stands in it was indexed.
CREATE INDEX assignment_ticket ON assignment (ticket_id, assigned_at);

CREATE INDEX ticket_category ON ticket (category, opened_at DESC, ticket_id DESC);
CREATE INDEX ticket_grid ON ticket (grid_code, opened_at DESC, ticket_id DESC);
CREATE INDEX ticket_state ON ticket (state, opened_at DESC, ticket_id DESC);
CREATE INDEX ticket_unassigned ON ticket (opened_at DESC, ticket_id DESC) WHERE unassigned;

-- The map's open tickets in the order in which it draws them, and what it counts, from the index alone.
CREATE INDEX ticket_open_worst ON ticket (severity DESC, opened_at DESC) INCLUDE (ticket_id, grid_code, unassigned)
    WHERE state NOT IN ('closed', 'void', 'merged');
CREATE INDEX clock_missed ON clock (ticket_id) WHERE missed_at IS NOT NULL;
