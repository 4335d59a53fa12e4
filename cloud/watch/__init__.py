"""The dead-man's switch: whether the gateways work, and whether our own workers do."""
