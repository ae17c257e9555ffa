"""`python -m qpu_executor.testing.fault_matrix.nursery FD`: forks managers, controllers, clients.

Starting `qpu serve` takes seconds of imports, which is too much for hundreds of kills. This
process imports everything once and does nothing with it: it has no loop, no thread, no open
store. Each child is forked off it, runs the command's own `main`, and is a process like any
other: SIGKILL takes it away with all it held. Only one thing differs: programs are checked
in a thread of the manager, not in a worker process, which would have to import Pulser anew.

Spoken on the socket FD (SOCK_SEQPACKET): `{"role", "arguments"}` with two descriptors (the
child's stdout and stderr) is answered by `{"pid"}`; `{"ended": pid, "code"}` follows some
time. When the other end closes, all children are killed.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from qpu_executor.testing.fault_matrix import roles

MESSAGE_BYTES = 1 << 16


class Nursery:
    """`link`: to who asks for children."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._children: set[int] = set()

    def serve(self) -> None:
        """Fork what is asked for until the other end closes."""
        waking, woken = os.pipe()
        for end in (waking, woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._link.fileno(), waking], [], [])
            if waking in ready:
                os.read(waking, 4096)
                self._bury()
            if self._link.fileno() in ready and not self._fork_one():
                break
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _fork_one(self) -> bool:
        text, descriptors, _, _ = socket.recv_fds(self._link, MESSAGE_BYTES, 2)
        if not text:
            return False
        asked = json.loads(text)
        pid = os.fork()
        if pid == 0:
            self._link.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become(roles.ROLES[asked["role"]], asked["arguments"], *descriptors)
        for one in descriptors:
            os.close(one)
        self._children.add(pid)
        self._say({"pid": pid})
        return True

    def _bury(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            self._say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def _say(self, message: dict[str, int]) -> None:
        self._link.send(json.dumps(message).encode())


def _become(
    role: Callable[[dict[str, Any]], object], arguments: dict[str, Any], stdout: int, stderr: int
) -> None:
    """The child's whole life. Doesn't return."""
    code = 1
    try:
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        role(arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Import everything, then serve."""
    roles.import_everything()
    gc.collect()
    gc.freeze()
    Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
