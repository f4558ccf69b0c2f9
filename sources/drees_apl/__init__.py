"""Access to general practitioners (Opendatasoft attachment)."""
