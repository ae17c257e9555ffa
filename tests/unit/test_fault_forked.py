"""Children of the fault matrix's nursery, known by numbers that the kernel gives again."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from qpu_executor.testing.fault_matrix.forked import NurseryProcess


def test_a_number_that_is_given_again_is_another_child(tmp_path: Path) -> None:
    ours, nursery_s = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nursery = NurseryProcess(tmp_path / "log")
    nursery._link = ours
    with ours, nursery_s:

        def say(**message: int) -> None:
            nursery_s.send(json.dumps(message).encode())

        say(pid=7)
        first = nursery.fork("manager", {}, tmp_path / "log")
        say(ended=7, code=-9)
        assert first.poll() == -9
        say(pid=7)
        second = nursery.fork("manager", {}, tmp_path / "log")
        assert second.poll() is None
        say(ended=7, code=0)
        assert second.wait(60) == 0
        first.stdout.close()
        second.stdout.close()
