"""What a Slurm job says about itself."""

from qpu_executor.slurm.allocation import allocation_left_s
from qpu_executor.slurm.job import this_job

__all__ = ["allocation_left_s", "this_job"]
