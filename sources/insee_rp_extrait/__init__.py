"""Census figures of communes of 2,000 inhabitants or more, as kept by an R package."""
