"""Sensors: a port that every driver stands behind, the storm that simulated ones measure, and batching."""
