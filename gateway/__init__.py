"""The district's door: takes every message in, exactly once, and looks after the fleet."""
