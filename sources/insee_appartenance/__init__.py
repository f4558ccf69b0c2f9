"""Zones a commune belongs to (EPCI, EPT, arrondissement, zone d'emploi), year by year."""
