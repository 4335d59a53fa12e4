"""Backups of the store and their restore, after which boxes send again what the backup lacks."""
