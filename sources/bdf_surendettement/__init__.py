"""Over-indebtedness filings by département."""
