"""What runs: programs, their identity, and whether a device allows them."""
