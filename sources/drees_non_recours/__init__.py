"""Non-take-up of the RSA, as published in a text."""
