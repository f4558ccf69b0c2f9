"""IRIS of each commune, and how they changed: the workbook INSEE publishes every year."""
