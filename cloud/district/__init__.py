"""The district as data: units and their areas, who gets what (routing), by when (policies)."""
