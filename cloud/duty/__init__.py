"""The duty rota: who is on duty for a unit, where nobody is, and whom to call."""
