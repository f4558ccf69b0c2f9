"""Comparateur de territoires, INSEE: census, civil registration and Filosofi figures of communes."""
