"""The fleet: which boxes there are, their credentials, and which of them are silent."""
