"""Clocks: what was promised by when, from a policy frozen at the ticket's opening."""
