"""Readings by the minute and the hour: batches note what they wrote to, and one gateway of all computes it anew."""
