"""Open311 GeoReport v2: other cities' apps file reports here and read what became of them."""
