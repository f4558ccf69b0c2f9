"""Caf by commune: households and amounts of RSA and prime d'activité in December, rounded by the producer."""
