"""Social position index (IPS) of schools."""
