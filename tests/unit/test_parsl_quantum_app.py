"""Quantum apps under a real DataFlowKernel, with a client that a test scripts."""

import functools
import pickle
import threading
from concurrent.futures import Future
from queue import SimpleQueue

import parsl
import pytest
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.dataflow.errors import DependencyError
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors import ThreadPoolExecutor
from parsl.executors.errors import InvalidResourceSpecification
from parsl.monitoring.message_type import MessageType

from qpu_executor.errors import (
    BuilderError,
    ConfigError,
    ManagerUnreachable,
    RequestRefused,
    TaskCancelled,
    TaskFailed,
)
from qpu_executor.parsl import QPUExecutor, cancel, quantum_app, retry_handler, task_id
from qpu_executor.parsl.attempt import QuantumCall
from qpu_executor.parsl.options import CallSpec
from qpu_executor.programs.program import Program
from qpu_executor.testing.scripted_client import AT, ScriptedClient, result_of

TIMEOUT = 60

pytestmark = [
    pytest.mark.filterwarnings("ignore:Usage of `int`s or any non-`str`types:DeprecationWarning"),
]


class OfflineExecutor(QPUExecutor):
    """Connects to the client that it is told, instead of a manager."""

    client = None

    def _connect(self):
        return self.client


@pytest.fixture
def load(tmp_path):
    """load(client, executor=…, extra=[…], **config) -> the executor, Parsl being loaded."""

    def _load(client, *, executor=None, extra=(), **config):
        executor = executor or OfflineExecutor()
        executor.client = client
        parsl.load(
            Config(
                executors=[executor, *extra],
                run_dir=str(tmp_path / "runinfo"),
                initialize_logging=False,
                **config,
            )
        )
        return executor

    yield _load
    if DataFlowKernelLoader._dfk is not None:
        parsl.dfk().cleanup()


def answering():
    return ScriptedClient(lambda order: result_of(order, 7))


def program(x=0):
    return Program("test", f"program {x}")


@quantum_app(shots=5)
def measure(x):
    return program(x)


@parsl.python_app(executors=["cpu"])
def total(result):
    return sum(result.counts.values())


def test_result_of_a_quantum_app_feeds_a_classical_one(load):
    load(answering(), extra=[ThreadPoolExecutor(label="cpu")])
    assert total(measure(1)).result(TIMEOUT) == 5


def test_futures_and_parts_of_results_are_arguments_of_quantum_apps(load):
    client = answering()
    load(client)

    @quantum_app(shots=3)
    def pair(first, part):
        return Program("test", f"{first.shots} {part}")

    answer = pair(measure(1), measure(2).counts["0"]).result(TIMEOUT)
    assert answer.shots == 3
    assert client.orders[-1].program.content == "5 5"


def test_join_app_collects_quantum_apps(load):
    load(answering())

    @parsl.join_app
    def all_of(count):
        return [measure(x) for x in range(count)]

    assert [r.shots for r in all_of(4).result(TIMEOUT)] == [5, 5, 5, 5]


def test_a_list_of_programs_gives_a_list_of_results_in_order(load):
    client = answering()
    load(client)

    @quantum_app(shots=2)
    def several(count):
        return [program(x) for x in range(count)]

    results = several(3).result(TIMEOUT)
    assert [r.program_hash for r in results] == [program(x).hash for x in range(3)]
    assert [o.name for o in client.orders] == ["several[0]", "several[1]", "several[2]"]
    assert len({o.key for o in client.orders}) == 3
    assert several(0).result(TIMEOUT) == []


def test_options_of_the_call_override_decorator_and_executor(load):
    client = answering()
    load(client, executor=OfflineExecutor(job_class="production", qpu="far"))

    @quantum_app(shots=10, job_class="development", priority=1)
    def sweep():
        return program()

    sweep(parsl_resource_specification={"shots": 20, "priority": 5, "seed": 3}).result(TIMEOUT)
    measure(0).result(TIMEOUT)
    first, second = client.orders
    assert (first.shots, first.job_class, first.qpu, first.priority, first.seed) == (
        20,
        "development",
        "far",
        5,
        3,
    )
    assert (second.shots, second.job_class, second.priority) == (5, "production", 0)
    assert first.session == "session-1"
    assert first.key_origin == "engine"


def test_stopping_rule_reaches_the_manager_and_belongs_to_the_memo_key(load):
    client = answering()
    load(client)
    few, many = ({"min_shots": n, "distinct": 2} for n in (10, 20))

    @quantum_app(shots=100, stop_when=few, cache=True)
    def sweep():
        return program()

    for _ in range(2):
        sweep().result(TIMEOUT)
    sweep(parsl_resource_specification={"stop_when": many}).result(TIMEOUT)
    assert [order.stop_when.min_shots for order in client.orders] == [10, 20]
    with pytest.raises(RequestRefused, match="more than the task's 5 shots"):
        sweep(parsl_resource_specification={"shots": 5}).result(TIMEOUT)


def test_wishes_reach_the_manager_and_those_that_decide_belong_to_the_memo_key(load):
    client = answering()
    load(client, executor=OfflineExecutor(device="fresnel", require={"min_qubits": 2}))

    @quantum_app(shots=5, cache=True, time_limit_s=60.0)
    def sweep():
        return program()

    for spec in ({}, {"time_limit_s": 9.0}, {"on_recalibration": "fail"}, {"qpu": "emulator"}):
        sweep(parsl_resource_specification=spec).result(TIMEOUT)
    found = [(o.device, o.qpu, o.time_limit_s, o.on_recalibration) for o in client.orders]
    assert found == [
        ("fresnel", None, 60.0, "continue"),
        ("fresnel", None, 60.0, "fail"),
        (None, "emulator", 60.0, "continue"),
    ]
    assert {str(order.require) for order in client.orders} == {"{'min_qubits': 2}"}
    with pytest.raises(RequestRefused, match="device=5"):
        sweep(parsl_resource_specification={"device": 5}).result(TIMEOUT)


def test_a_builder_with_a_parameter_for_it_hears_of_the_specification(load):
    client = answering()
    load(client)

    @quantum_app
    def told(parsl_resource_specification={"shots": 4}):  # noqa: B006 (Parsl's documented form)
        return program(parsl_resource_specification["shots"])

    assert told().result(TIMEOUT).program_hash == program(4).hash
    assert told(parsl_resource_specification={"shots": 6}).result(TIMEOUT).shots == 6


def test_unknown_option_is_refused_with_the_nearest_and_the_known_ones(load):
    client = answering()
    load(client)
    future = measure(1, parsl_resource_specification={"shotz": 9})
    with pytest.raises(InvalidResourceSpecification, match=r"'shots' instead.*'shotz'.*job_class"):
        future.result(TIMEOUT)
    assert not client.orders


@pytest.mark.parametrize("shots", [0, -3, 2.5, "many", True])
def test_impossible_shots_are_refused(load, shots):
    load(answering())
    with pytest.raises(RequestRefused, match=r"quantum app 'measure': shots="):
        measure(1, parsl_resource_specification={"shots": shots}).result(TIMEOUT)


def test_missing_shots_are_refused_with_what_to_write(load):
    load(answering())

    @quantum_app
    def sweep():
        return program()

    with pytest.raises(RequestRefused, match=r"@quantum_app\(shots=100\)"):
        sweep().result(TIMEOUT)


def test_unknown_option_of_the_decorator_is_refused_where_it_is_written():
    with pytest.raises(InvalidResourceSpecification, match="'job_class' instead of 'job_clas'"):
        quantum_app(shots=1, job_clas="x")
    with pytest.raises(ConfigError, match="a list of labels"):
        quantum_app(shots=1, executors="qpu")


def test_a_label_that_is_no_qpu_executor_is_an_error_at_the_call(load):
    load(answering(), extra=[ThreadPoolExecutor(label="cpu")])
    with pytest.raises(ConfigError, match=r"'cpu' is no QPUExecutor.*executors=\[\"qpu\"\]"):
        quantum_app(shots=1, executors=["cpu"])(program)()
    with pytest.raises(ConfigError, match="'other' isn't loaded"):
        quantum_app(shots=1, executors=["other"])(program)()


def test_a_builder_that_raises_gives_the_users_traceback_and_nothing_of_ours(load):
    load(answering())

    @quantum_app(shots=1)
    def broken(x):
        def inner():
            return {}["missing"] + x

        return inner()

    with pytest.raises(BuilderError) as caught:
        broken(1).result(TIMEOUT)
    text = str(caught.value)
    assert "quantum app 'broken'" in text
    assert "in inner" in text
    assert "KeyError: 'missing'" in text
    assert "/parsl/" not in caught.value.traceback_text
    assert caught.value.permanent
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


def test_a_builder_that_exits_fails_its_task_only(load):
    load(answering())

    @quantum_app(shots=1)
    def leaves():
        raise SystemExit(3)

    with pytest.raises(BuilderError, match="SystemExit: 3"):
        leaves().result(TIMEOUT)
    assert measure(1).result(TIMEOUT).shots == 5


def test_wrong_arguments_fail_the_task_with_pythons_own_words(load):
    load(answering())
    with pytest.raises(BuilderError, match=r"measure\(\) missing 1 required positional argument"):
        measure().result(TIMEOUT)


def test_a_builder_that_returns_no_program_is_an_error_with_the_app_and_the_item(load):
    load(answering())

    @quantum_app(shots=1)
    def number():
        return 42

    @quantum_app(shots=1)
    def mixed():
        return [program(), None]

    @quantum_app(shots=1)
    async def later():
        return program()

    with pytest.raises(BuilderError, match=r"quantum app 'number'.*int"):
        number().result(TIMEOUT)
    with pytest.raises(BuilderError, match="quantum app 'mixed', item 1 of 2"):
        mixed().result(TIMEOUT)
    with pytest.raises(BuilderError, match="async function"):
        later().result(TIMEOUT)


def test_builder_and_users_callbacks_run_in_threads_of_their_own(load):
    client = answering()
    load(client)
    names = {}

    ready = threading.Event()

    @quantum_app(shots=1)
    def where():
        names["builder"] = threading.current_thread().name
        ready.wait(TIMEOUT)
        return program()

    gate, called = threading.Event(), threading.Event()

    def callback(_):
        names["callback"] = threading.current_thread().name
        called.set()
        gate.wait(TIMEOUT)

    future = where()
    future.add_done_callback(callback)
    ready.set()  # once it has ended, a callback runs where it is added
    assert called.wait(TIMEOUT)
    assert names == {"builder": "qpu-builder-0", "callback": "qpu-completion-0"}
    # The client isn't held up by the callback: it still takes orders and answers.
    measure(1)
    (second,) = client.wait_for_orders(2)[1:]
    assert second.result(TIMEOUT).shots == 5
    gate.set()


def test_retries_use_the_same_key_and_permanent_errors_are_not_retried(load):
    outcomes = iter([TaskFailed("lost"), TaskFailed("lost again"), None])

    def answer(order):
        outcome = next(outcomes, TaskFailed("no such device", permanent=True))
        return outcome or result_of(order, 1)

    client = ScriptedClient(answer)
    load(client, retries=5, retry_handler=retry_handler)
    assert measure(1).result(TIMEOUT).shots == 5
    assert len(client.orders) == 3
    assert len({o.key for o in client.orders}) == 1
    with pytest.raises(TaskFailed, match="no such device"):
        measure(1).result(TIMEOUT)
    assert len(client.orders) == 4
    assert client.orders[3].key != client.orders[0].key


def test_the_loss_of_the_manager_costs_no_retry_but_ends_some_time(load):
    client = ScriptedClient(lambda order: ManagerUnreachable("nobody answers"))
    load(client, retries=0, retry_handler=retry_handler)
    with pytest.raises(ManagerUnreachable):
        measure(1).result(TIMEOUT)
    assert len(client.orders) == 4


def test_one_failure_of_a_list_names_it_and_keeps_the_others_results(load):
    bad = program(1).hash

    def answer(order):
        wrong = order.program.hash == bad
        return TaskFailed("out of range", permanent=True) if wrong else result_of(order, 1)

    load(ScriptedClient(answer))

    @quantum_app(shots=2)
    def several():
        return [program(x) for x in range(3)]

    with pytest.raises(TaskFailed, match="quantum app 'several', item 1 of 3") as caught:
        several().result(TIMEOUT)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.index == 1
    assert [r and r.shots for r in error.results] == [2, None, 2]


def test_a_failed_dependency_fails_the_quantum_app_without_a_task(load):
    client = answering()
    load(client, extra=[ThreadPoolExecutor(label="cpu")])

    @parsl.python_app(executors=["cpu"])
    def fails():
        raise ValueError("no graph")

    with pytest.raises(DependencyError, match="task 0"):
        measure(fails()).result(TIMEOUT)
    assert not client.orders


def test_cancel_before_launch_submits_nothing(load):
    client = answering()
    load(client, retries=2)
    dependency = Future()
    future = measure(dependency)
    assert task_id(future) is None
    assert cancel(future)
    dependency.set_result(1)
    with pytest.raises(TaskCancelled, match="quantum app 'measure'"):
        future.result(TIMEOUT)
    assert not client.orders


def test_cancel_while_the_builder_is_busy_or_before_it_submits_nothing(load):
    client = answering()
    load(client, retry_handler=retry_handler, retries=2)
    started, gate = threading.Event(), threading.Event()

    @quantum_app(shots=1)
    def slow():
        started.set()
        gate.wait(TIMEOUT)
        return program()

    building, queued = slow(), slow()
    assert started.wait(TIMEOUT)
    assert cancel(queued)
    assert cancel(building)
    if queued.exception(TIMEOUT) is None:
        pytest.fail("the queued call wasn't cancelled")
    gate.set()
    for future in (building, queued):
        with pytest.raises(TaskCancelled):
            future.result(TIMEOUT)
        assert not cancel(future)
    assert not client.orders


def test_cancel_while_the_task_waits_or_runs_cancels_it_at_the_manager_once(load):
    client = ScriptedClient()
    load(client, retries=3, retry_handler=retry_handler)
    future = measure(1)
    client.wait_for_orders(1)
    with pytest.raises(NotImplementedError):
        future.cancel()
    assert cancel(future)
    with pytest.raises(TaskCancelled):
        future.result(TIMEOUT)
    assert client.cancelled == [1]
    assert len(client.orders) == 1


def test_cancel_of_a_task_whose_submission_is_under_way_waits_for_its_id(load):
    client = ScriptedClient()
    client.accepting = False
    load(client)
    future = measure(1)
    client.wait_for_orders(1)
    assert cancel(future)
    assert not client.cancelled
    client.accept()
    with pytest.raises(TaskCancelled):
        future.result(TIMEOUT)
    assert client.cancelled == [1]


def test_task_id_is_the_managers(load):
    client = ScriptedClient()
    load(client)

    @quantum_app(shots=1)
    def pair():
        return [program(1), program(2)]

    one, two = measure(1), pair()
    for future in client.wait_for_orders(3):
        client.finish(future)
    one.result(TIMEOUT)
    two.result(TIMEOUT)
    assert (task_id(one), task_id(two)) == (1, [2, 3])


def test_cancel_and_task_id_of_a_classical_future_say_no(load):
    load(answering(), extra=[ThreadPoolExecutor(label="cpu")])
    gate = threading.Event()

    @parsl.python_app(executors=["cpu"])
    def waits():
        return gate.wait(TIMEOUT)

    future = waits()
    assert not cancel(future)
    assert task_id(future) is None
    gate.set()
    assert future.result(TIMEOUT)


def test_cached_calls_are_told_apart_by_what_decides_the_result(load):
    client = answering()
    load(client)
    app = quantum_app(shots=2, cache=True)(program)

    def run(**spec):
        app(1, parsl_resource_specification=spec).result(TIMEOUT)
        return len(client.orders)

    assert run() == 1
    assert run() == 1
    assert run(priority=3, name="again") == 1
    assert run(shots=4) == 2
    assert run(job_class="test") == 3
    assert run(qpu="other") == 4
    assert run(seed=5) == 5
    assert run(shots=2) == 5


def test_without_cache_every_call_is_a_task_of_its_own(load):
    client = answering()
    load(client)
    for _ in range(2):
        measure(1).result(TIMEOUT)
    assert len({o.key for o in client.orders}) == 2


def test_a_checkpointed_result_is_found_by_the_next_run_unless_the_qpu_changed(load):
    @quantum_app(shots=2, cache=True)
    def kept(x):
        return program(x)

    counted = []
    for qpu in ("a", "a", "b"):
        client = answering()
        memoizer = BasicMemoizer(checkpoint_mode="task_exit")
        load(client, executor=OfflineExecutor(qpu=qpu), memoizer=memoizer)
        assert kept(1).result(TIMEOUT).counts == {"0": 2}
        counted.append(len(client.orders))
        parsl.dfk().cleanup()
    assert counted == [1, 0, 1]


def test_results_and_sequences_are_arguments_of_cached_apps(load):
    import pulser

    client = answering()
    load(client, extra=[ThreadPoolExecutor(label="cpu")])

    def sequence():
        register = pulser.Register({"q0": (0, 0)})
        made = pulser.Sequence(register, pulser.AnalogDevice)
        made.declare_channel("global", "rydberg_global")
        made.add(pulser.Pulse.ConstantPulse(100, 1, 0, 0), "global")
        return made

    calls = []

    @quantum_app(shots=2, cache=True)
    def run(made, register):
        return made

    @parsl.python_app(executors=["cpu"], cache=True)
    def count(result):
        calls.append(result)
        return result.shots

    register = sequence().register
    first = run(sequence(), register).result(TIMEOUT)
    assert count(first).result(TIMEOUT) == 2
    assert count(run(sequence(), register)).result(TIMEOUT) == 2
    assert (len(client.orders), len(calls)) == (1, 1)


def test_a_users_key_goes_to_the_manager_as_his(load):
    client = answering()
    load(client)
    measure(1, parsl_resource_specification={"key": "scan-1"}).result(TIMEOUT)
    assert (client.orders[0].key, client.orders[0].key_origin) == ("scan-1", "user")


def test_thousands_in_flight_need_no_thread_each(load):
    client = ScriptedClient()
    load(client)
    measure(0)
    client.wait_for_orders(1)
    before = threading.active_count()
    futures = [measure(x) for x in range(3000)]
    open_orders = client.wait_for_orders(3001)
    assert threading.active_count() <= before + 1  # the completion thread, when it has work
    for order in open_orders:
        client.finish(order)
    assert all(f.result(TIMEOUT).shots == 5 for f in futures)


def test_shutdown_cancels_what_runs_answers_every_future_and_may_be_repeated(load):
    client = ScriptedClient()
    executor = load(client)
    running = measure(1)
    client.wait_for_orders(1)
    waiting = measure(Future())
    parsl.dfk().cleanup()
    with pytest.raises(TaskCancelled):
        running.result(TIMEOUT)
    assert client.cancelled == [1]
    assert ("cancel", "session-1") in client.sessions
    assert client.sessions[-1] == ("close", "session-1")
    assert not waiting.done()
    executor.shutdown()
    assert client.closed == 1
    with pytest.raises(ConfigError, match="isn't running"):
        executor.submit(program, {})


def test_a_given_session_is_used_and_left_open(load):
    client = answering()
    executor = OfflineExecutor(session="s-9")
    load(client, executor=executor)
    measure(1).result(TIMEOUT)
    parsl.dfk().cleanup()
    assert client.orders[0].session == "s-9"
    assert not client.sessions


def test_shutdown_with_nothing_running_ends_all_threads(load):
    before = set(threading.enumerate())
    load(answering())
    measure(1).result(TIMEOUT)
    parsl.dfk().cleanup()
    left = [t.name for t in {*threading.enumerate()} - before if t.name.startswith("qpu-")]
    assert not left


def test_a_manager_that_is_not_there_is_an_error_of_the_start(tmp_path):
    executor = QPUExecutor(manager=f"unix://{tmp_path}/none.sock", wait_s=0.1)
    executor.run_dir = str(tmp_path)
    with pytest.raises(ManagerUnreachable, match=r"none\.sock"):
        executor.start()
    executor.shutdown()


def test_zero_builder_threads_are_refused_at_the_start():
    with pytest.raises(ConfigError, match="builder_threads=0"):
        QPUExecutor(builder_threads=0).start()


def test_classical_functions_run_in_this_process_and_are_told_about_once(load, caplog):
    load(answering())

    @parsl.python_app
    def plain(x):
        return x + 1

    @parsl.python_app
    def broken():
        raise ValueError("classical")

    assert [plain(x).result(TIMEOUT) for x in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="classical"):
        broken().result(TIMEOUT)
    told = [r.message for r in caplog.records if "'plain'" in r.message]
    assert len(told) == 1
    assert 'executors=["cpu"]' in told[0]


def test_a_classical_function_that_exits_fails_its_own_future_only(load):
    load(answering())

    @parsl.python_app
    def leaves():
        raise SystemExit(3)

    @parsl.python_app
    def stays():
        return 7

    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        leaves().result(TIMEOUT)
    assert stays().result(TIMEOUT) == 7


def test_a_long_classical_function_keeps_no_quantum_task_back(load):
    load(answering())
    gate = threading.Event()

    @parsl.python_app
    def waits():
        return gate.wait(TIMEOUT)

    future = waits()
    assert measure(1).result(TIMEOUT).shots == 5
    assert not future.done()
    gate.set()
    assert future.result(TIMEOUT)


def test_the_executor_shows_its_settings():
    shown = repr(QPUExecutor(label="q", manager="http://head:8080", job_class="test"))
    assert "QPUExecutor" in shown
    assert "http://head:8080" in shown


def test_monitoring_hears_of_the_qpu_and_of_its_times_not_of_the_builders_host(load):
    client = answering()
    executor = load(client)
    messages = SimpleQueue()
    executor.monitoring_messages = messages

    @functools.wraps(program)
    def parsls_wrapper(*args, **kwargs):
        raise AssertionError("reports the builder's host and times")

    call = QuantumCall("pair")
    parsls_wrapper.__wrapped__ = lambda: [program(1), program(2)]
    ids = {"_parsl_monitoring_task_id": 5, "_parsl_monitoring_try_id": 1}
    future = executor.submit(parsls_wrapper, CallSpec({"shots": 1}, call), **ids)
    assert len(future.result(TIMEOUT)) == 2
    (kind, first), (_, last) = messages.get(timeout=TIMEOUT), messages.get(timeout=TIMEOUT)
    assert kind is MessageType.WORKER_TASK_INFO
    assert (first["task_id"], first["try_id"], first["hostname"]) == (5, 1, "fake-1")
    assert (first["first_msg"], last["last_msg"]) == (True, True)
    assert first["timestamp"].astimezone() == AT
