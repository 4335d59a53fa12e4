"""The schema both the gateway and the ticket centre use, and the runner of its migrations."""
