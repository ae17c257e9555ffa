"""What users import: `connect()`, task handles, results.

    from qpu_executor.client import connect

    with connect() as qpu:
        task = qpu.submit(sequence, shots=300)
        print(task.result().counts)

How the files stack, from the door down: connect > client (sync) > async_client >
{submitting | waiting} > {channel | events} > transport > {protocol | retry | problems}.
The last three do no I/O: they are the brain that both clients share.
"""

from qpu_executor.client.async_client import AsyncClient
from qpu_executor.client.client import Client
from qpu_executor.client.connect import aconnect, connect
from qpu_executor.client.futures import TaskFuture
from qpu_executor.client.order import TaskOrder
from qpu_executor.client.result import Result
from qpu_executor.client.session_terms import SessionTerms
from qpu_executor.client.tasks import AsyncTask, Task

__all__ = [
    "AsyncClient",
    "AsyncTask",
    "Client",
    "Result",
    "SessionTerms",
    "Task",
    "TaskFuture",
    "TaskOrder",
    "aconnect",
    "connect",
]
