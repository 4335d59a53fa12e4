"""From pixels to what happened: detector, tracker, scenes; the last place where pixels exist."""
