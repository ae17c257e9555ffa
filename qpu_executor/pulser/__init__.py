"""Pulser's own remote backends on a QPU manager.

import pulser
from qpu_executor.pulser import QPUConnection

backend = pulser.QPUBackend(sequence, connection=QPUConnection())
results = backend.run(job_params=[{"runs": 300}], wait=True)
"""

from qpu_executor.pulser.connection import QPUConnection

__all__ = ["QPUConnection"]
