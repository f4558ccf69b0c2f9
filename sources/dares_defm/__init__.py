"""Jobseekers registered with France Travail, by commune."""
