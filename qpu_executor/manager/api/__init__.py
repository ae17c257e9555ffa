"""HTTP in front of the manager: JSON in and out, nothing decided here."""
