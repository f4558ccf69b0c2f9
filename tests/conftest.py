"""Puts this folder on the import path, for the samples that several kinds of tests share."""
