"""``make fuzz``: a million mutated messages through the real gateway, and an account of each of them.

``corpus`` makes valid messages of every kind, ``mutations`` spoils them, ``gateway`` is the gateway's own process
with a pipe where the broker would be, ``broker`` sends a share through the real one, ``account`` looks every
message up in the store.
"""
