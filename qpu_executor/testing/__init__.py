"""The public test kit: stand-ins for whatever a test has no use for in earnest."""
