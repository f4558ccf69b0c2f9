"""The guides, in French (architecture.md in English), and the program that writes the generated pages."""
