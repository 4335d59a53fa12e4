"""Who is there: every box with what it last said of itself."""
