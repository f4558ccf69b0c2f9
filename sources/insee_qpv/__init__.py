"""Priority districts (QPV): codes, names, and the communes they lie in, by name."""
