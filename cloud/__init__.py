"""The ticket centre: turns what happened into work, sees that it is done, and proves it."""
