"""A plainly fictional country, generated from a seed and written in the producers' own formats, with its
known truth.
"""
