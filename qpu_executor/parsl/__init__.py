"""Parsl: `QPUExecutor` and `@quantum_app`.

    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from qpu_executor.parsl import QPUExecutor, quantum_app

    @quantum_app(shots=300)
    def sweep(duration_ns):
        ...                       # build a pulser.Sequence
        return sequence

    with parsl.load(Config(executors=[HighThroughputExecutor(label="cpu"), QPUExecutor()])):
        print(sweep(2000).result().counts)

How the files stack: app > executor > engine > {attempt | building | cancelling |
threads}; options and memo say what a call is, control what users do with futures,
unreadable keeps classical results from ending a workflow.
"""

from qpu_executor.parsl.app import QuantumApp, quantum_app
from qpu_executor.parsl.control import cancel, retry_handler, task_id
from qpu_executor.parsl.executor import QPUExecutor
from qpu_executor.programs.pulser_pickling import install_if_imported

__all__ = ["QPUExecutor", "QuantumApp", "cancel", "quantum_app", "retry_handler", "task_id"]

install_if_imported()
