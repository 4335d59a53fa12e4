"""How grave a matter is: what raises a ticket's severity, and why; nothing lowers it by itself."""
