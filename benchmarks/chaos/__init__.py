"""``make chaos``: the whole system under random kills, bad links, full disks and wrong clocks, then an audit.

``plan`` draws what happens from a seed, ``town`` runs real boxes, gateways, broker, store and ticket centre with
``links`` between them, ``driver`` lets the plan happen, ``ledger`` writes down what boxes numbered while they
still have it, and ``__main__`` heals everything, waits and compares.
"""
