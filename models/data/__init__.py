"""Labelled footage read into plain records, and split by group; for training and for the accuracy report."""
