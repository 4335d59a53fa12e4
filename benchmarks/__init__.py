"""Headline figures, each a ratio against a limit that was measured or set in the same run.

``python -m benchmarks`` runs all and prints a table; ``python -m benchmarks.NAME --json`` prints one last line
``{"name", "value", "unit", "limit", "ratio", "detail"}``.
"""
