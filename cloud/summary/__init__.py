"""How the whole centre stands, in figures; and whether its promises are kept."""
