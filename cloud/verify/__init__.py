"""Verification: the devices that raised a ticket look again before it closes."""
