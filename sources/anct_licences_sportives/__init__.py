"""Sports licences of children, as the Observatoire des territoires gives them."""
