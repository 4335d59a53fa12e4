"""Working time: weekly hours, public holidays and make-up days, and clocks that run only in them."""
