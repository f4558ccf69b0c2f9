"""Digital vulnerability index by IRIS."""
