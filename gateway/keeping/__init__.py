"""What is kept and how long: rollups that stay right, retention, and the worker that looks after both."""
