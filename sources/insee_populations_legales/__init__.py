"""Populations légales, INSEE: legal populations of communes, départements and régions."""
