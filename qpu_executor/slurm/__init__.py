"""What a Slurm job says about itself."""

from qpu_executor.slurm.allocation import allocation_left_s

__all__ = ["allocation_left_s"]
