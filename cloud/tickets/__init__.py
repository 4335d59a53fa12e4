"""Tickets: one open ticket a matter, a state machine, an append-only history."""
