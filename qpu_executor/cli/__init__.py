"""The `qpu` command: one file per group of verbs, and the only place that wires parts."""
