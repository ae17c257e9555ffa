"""The executor's threads: order, failures of jobs, and the end."""

import sys
import threading
from queue import SimpleQueue

from qpu_executor.parsl.cancelling import Canceller
from qpu_executor.parsl.threads import DaemonPool

TIMEOUT = 60


def test_jobs_of_one_thread_run_in_order_and_end_before_close_returns():
    done = []
    pool = DaemonPool("t")
    for number in range(100):
        pool.submit(done.append, number)
    assert pool.close(TIMEOUT)
    assert done == list(range(100))


def test_a_job_that_fails_is_logged_and_the_next_one_runs(caplog):
    done = []
    pool = DaemonPool("careful")
    pool.submit(int, "no number")
    pool.submit(done.append, 1)
    assert pool.close(TIMEOUT)
    assert done == [1]
    assert "a job of careful failed" in caplog.text


def test_a_job_that_wants_to_end_the_process_doesn_t_keep_the_next_ones_back(caplog):
    done = []
    pool = DaemonPool("careful")
    pool.submit(sys.exit)
    pool.submit(done.append, 1)
    assert pool.close(TIMEOUT)
    assert done == [1]
    assert "tried to end its thread" in caplog.text


def test_a_job_submitted_after_the_end_runs_in_the_callers_thread():
    ran = []
    pool = DaemonPool("t")
    pool.close(TIMEOUT)
    pool.submit(lambda: ran.append(threading.current_thread()))
    assert ran == [threading.current_thread()]


def test_close_says_that_a_job_is_still_busy_and_never_waits_for_itself():
    gate = threading.Event()
    busy = DaemonPool("busy")
    busy.submit(gate.wait, TIMEOUT)
    assert not busy.close(0.05)
    gate.set()
    answers: SimpleQueue[bool] = SimpleQueue()
    own = DaemonPool("own")
    own.submit(lambda: answers.put(own.close(TIMEOUT)))
    assert answers.get(timeout=TIMEOUT)


def test_no_thread_exists_before_the_first_job():
    before = set(threading.enumerate())
    pool = DaemonPool("idle", 4)
    assert set(threading.enumerate()) <= before
    assert pool.close(TIMEOUT)


class _Task:
    task_id = 1

    def done(self):
        return False


def test_a_cancellation_that_breaks_does_not_keep_later_ones_back(caplog):
    asked = []
    first = threading.Event()

    class Client:
        def cancel_tasks(self, ids):
            asked.append(list(ids))
            if len(asked) == 1:
                first.set()
                raise RuntimeError("broken pipe")

    canceller = Canceller(Client(), "cancel")
    canceller.request([_Task()])
    assert first.wait(TIMEOUT)
    canceller.request([_Task(), _Task()])
    assert canceller.close(TIMEOUT)
    assert asked[0] == [1]
    assert sum(map(len, asked)) == 3
    assert "couldn't be cancelled" in caplog.text
