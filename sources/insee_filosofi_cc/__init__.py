"""Filosofi, INSEE: incomes and poverty of households, main figures of every territory."""
