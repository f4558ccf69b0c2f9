"""Changes of IRIS over five years: a second sheet of the workbook of insee_iris."""
