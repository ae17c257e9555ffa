"""qpu-executor: hybrid workflows on a shared QPU, with second-level scheduling."""

__version__ = "0.1.0"
