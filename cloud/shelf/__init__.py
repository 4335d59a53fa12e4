"""Alarms on the shelf: known, troubling people without need, seen and kept as ever, and calling no one for a while."""
