-- Whatever comes for a matter is first asked whether a ticket of it stands, merged ones too: their work goes on elsewhere.
CREATE INDEX ticket_standing ON ticket (matter_id) WHERE state NOT IN ('closed', 'void');
