"""Filosofi, INSEE: distribution of living standards, inequality, and poverty by subgroup."""
