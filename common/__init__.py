"""What every tier agrees on: the wire, the schema, and how a process behaves."""
