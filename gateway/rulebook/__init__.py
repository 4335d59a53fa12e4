"""The rules in force: versions in the store, picked up between batches; what batches keep for them; dry runs."""
