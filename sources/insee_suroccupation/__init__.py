"""Overcrowding rates of communes, départements and régions, RP 2020."""
