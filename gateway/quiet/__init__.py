"""Times in which what is seen calls no one: maintenance of a box, drills (演练) of a box or a site."""
