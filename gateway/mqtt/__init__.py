"""MQTT spoken by ourselves: a pure codec, a client's session, and an intake on a socket."""
