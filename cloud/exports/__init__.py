"""Tickets as files for other programs: GeoJSON and CSV, streamed."""
