"""Rejects: messages that could not be taken in, to be looked at and tried again after a fix."""
