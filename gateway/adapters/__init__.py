"""Foreign devices at the gateway's door: plain numbers, plain JSON, ChirpStack uplinks, read by mapping files. Pure."""
