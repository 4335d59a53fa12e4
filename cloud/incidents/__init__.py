"""Incidents: what happened, fused from observations."""
