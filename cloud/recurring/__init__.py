"""Recurring places: where passing acts keep happening, measured again after action was taken."""
