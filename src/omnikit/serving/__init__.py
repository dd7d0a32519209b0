"""A system at work before people: what it is asked, what it answers, what is measured of it."""
