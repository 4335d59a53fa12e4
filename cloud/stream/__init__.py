"""The stream: what browsers follow, with ids and replay."""
