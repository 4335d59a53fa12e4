"""Dispatch: whose a ticket is, by its place and its category."""
