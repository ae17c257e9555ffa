"""Quantum tasks as Dask tasks.

    client.register_plugin(QPUPlugin())       # or QPUPlugin("http://qpu-head:8080")
    sweep_on_qpu = quantum_task(sweep, shots=300)
    result = client.submit(sweep_on_qpu, graph, 2000, resources={"QPU": 1}).result()

How the files stack, from the door down: plugin > scheduler_plugin > quantum_task >
{registration | worker_plugin > quantum_run > {connection > address | builders | options}},
all on distributed_internals.
"""

from qpu_executor.dask.cancelling import cancel
from qpu_executor.dask.plugin import QPUPlugin
from qpu_executor.dask.quantum_task import QuantumTask, quantum_task

__all__ = ["QPUPlugin", "QuantumTask", "cancel", "quantum_task"]
