"""Requests that change something are done once, however often they are sent."""
