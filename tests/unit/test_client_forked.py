"""Locks of this process that another thread has while the process is forked."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, os, signal, sys, threading

embedded = importlib.import_module("qpu_executor.client.embedded")
connecting = importlib.import_module("qpu_executor.client.connect")
held = threading.Event()


def hold():
    with embedded._lock, connecting._sharing:
        held.set()
        threading.Event().wait()


threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(ALARM)
    embedded.release(embedded.EmbeddedManager(None, None))
    try:
        connecting.shared_client("nonsense")
    except connecting.ConfigError:
        os._exit(7)
    os._exit(1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), flush=True)
os._exit(0)  # the lock is taken for ever, also for what would run at the end
"""


def test_a_client_can_be_made_and_let_go_after_a_fork_under_which_another_thread_did_so() -> None:
    program = PROGRAM.replace("ALARM", "120")
    words = [sys.executable, "-W", "ignore", "-c", program]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert ended.stdout.strip() == "7", ended
