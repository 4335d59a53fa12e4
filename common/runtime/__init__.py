"""How a Drumtower process behaves: configuration, errors, logs, metrics, clock, stopping."""
