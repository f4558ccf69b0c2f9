"""Census, contracts and part-time work of employees by commune."""
