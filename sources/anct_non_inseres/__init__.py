"""Young people neither employed nor in education or training, as the Observatoire des territoires gives it."""
