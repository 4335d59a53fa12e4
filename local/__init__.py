"""Everything that lets Drumtower run on one bare Debian machine without Docker and without changing the system."""
