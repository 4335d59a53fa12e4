"""What tracks mean: pure state machines, configured per camera; no I/O."""
