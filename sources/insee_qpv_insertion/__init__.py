"""Employment and jobseekers of the priority districts (QPV) of 2015."""
