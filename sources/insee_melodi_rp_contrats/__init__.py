"""Census, contracts and working time of employees (Melodi): declared layout."""
