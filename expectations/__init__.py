"""What must hold: suites declared per table, reconciliations, and the small adapter that runs them."""
