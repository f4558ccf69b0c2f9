"""Census 2023 on Melodi, labour force and unemployment of every level."""
