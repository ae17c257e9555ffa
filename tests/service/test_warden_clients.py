"""Clients that people already have, as they are: the released `qrmi` wheel, Pulser's
`QPUBackend` on its connection, and what the SPANK plugin does, with a real munged.

Root acquires (as a Slurm prolog does), an unprivileged user drives, another one tries to get in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulser
import pytest
import trustme

from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.munged import SystemMunged
from qpu_executor.testing.qrmi_user import QrmiUser, Said
from qpu_executor.testing.sequences import small_sequence

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  authentication: [munge]
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 2}}
  development: {{priority: 100, chunk_s: 10, max_shots: 5000}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
  slow: {{kind: simulated-qpu, device: AnalogDevice, shot_rate_hz: 10, partial_results: true}}
  broken: {{kind: simulated-qpu, device: AnalogDevice, shot_rate_hz: 1000, faults: {{chunk: 1}}}}
"""

OF_MANAGER = """
manager:
  listen: {listen}
  store: store.sqlite
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 30}}
qpus:
  behind:
    kind: qrmi
    type: pasqal-local
    environment: {{QRMI_WARDEN_URL: "@url", QRMI_JOB_UID: "0", QRMI_JOB_ID: "9"}}
    acquire: true
    poll_s: [0.05, 0.2]
"""

USER, INTRUDER = 65534, 65533
SEQUENCE = to_program(small_sequence()).content
TOKEN = "qpu_QRMI_JOB_ACQUISITION_TOKEN"


@pytest.fixture(scope="module")
def munged(munged_installed: None) -> Iterator[None]:
    """The wheel asks the munged at the default socket, whatever the environment says."""
    daemon = SystemMunged()
    daemon.start()
    yield
    daemon.close()


@pytest.fixture(scope="module")
def served(munged: None, make_shared: Callable[..., Any]) -> Any:
    return make_shared("http://127.0.0.1:0", SITE)


def environment(served: Any, resource: str = "emulator") -> dict[str, str]:
    """What QRMI reads in a job of USER's, before it has a token."""
    return {
        "QRMI_JOB_UID": str(USER),
        "QRMI_JOB_ID": "77",
        "QRMI_JOB_QPU_RESOURCES": "qpu",
        "QRMI_JOB_QPU_TYPES": "pasqal-local",
        "qpu_QRMI_WARDEN_URL": f"{served.url}/warden/{resource}",
    }


def ended(who: QrmiUser, task: str) -> str:
    """The status in which a task ends; the test's own time limit ends this."""
    while (said := who.call("task_status", task).done()) in ("Queued", "Running"):
        time.sleep(0.05)  # QRMI has nothing to wait with
    return str(said)


@dataclass
class World:
    """Three users of one resource, and tasks of USER's in every state that one can be in."""

    root: QrmiUser
    user: QrmiUser
    intruder: QrmiUser
    token: str
    done: str
    running: str
    waiting: str
    cancelled: str
    failed: str

    def tasks(self) -> dict[str, str]:
        """Task by its name here."""
        names = ("done", "running", "waiting", "cancelled", "failed")
        return {name: getattr(self, name) for name in names}


@pytest.fixture(scope="module")
def world(served: Any) -> Iterator[World]:
    given = environment(served)
    with (
        QrmiUser(None, given) as root,
        QrmiUser(USER, given) as user,
        QrmiUser(INTRUDER, given | {"QRMI_JOB_UID": str(INTRUDER)}) as intruder,
    ):
        token = root.call("acquire").done()
        user.call("setenv", TOKEN, token).done()
        intruder.call("setenv", TOKEN, token).done()

        def start(resource: str, shots: int) -> str:
            url = f"{served.url}/warden/{resource}"
            user.call("setenv", "qpu_QRMI_WARDEN_URL", url).done()
            return str(user.call("task_start", SEQUENCE, shots).done())

        running, waiting, cancelled = (start("slow", shots) for shots in (4000, 5000, 5000))
        user.call("task_stop", cancelled).done()
        failed, done = start("broken", 20), start("emulator", 20)
        assert (ended(user, done), ended(user, failed)) == ("Completed", "Failed")
        while user.call("task_status", running).done() != "Running":
            time.sleep(0.05)  # it starts with the next look of the scheduler
        yield World(root, user, intruder, token, done, running, waiting, cancelled, failed)


# -- conformance --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One thing that a client relies on: who calls what, and what has to come back.

    `call`: the call and its arguments; `{done}` and so on stand for tasks, `{token}` for USER's
    session. `says`: what the value must be, or a function that tells; None: an error
    that has all of `parts` in it.
    """

    name: str
    who: str
    call: tuple[Any, ...]
    says: Any = None
    parts: tuple[str, ...] = ()

    def run(self, world: World) -> None:
        names = {**world.tasks(), "token": world.token}
        call, *given = self.call
        arguments = [one.format(**names) if one in _NAMED else one for one in given]
        said: Said = getattr(world, self.who).call(call, *arguments)
        if self.parts:
            assert said.error is not None, said
            for part in self.parts:
                assert part in said.error
            assert "Traceback" not in said.error
        elif callable(self.says):
            assert self.says(said.done()), said
        else:
            assert said.done() == self.says


_NAMED = ("{done}", "{running}", "{waiting}", "{cancelled}", "{failed}", "{token}")


def full_counter(text: str) -> bool:
    counter = json.loads(text)["counter"]
    return sum(counter.values()) == 20 and all(len(bits) == 3 for bits in counter)


def fresh(text: str) -> bool:
    return isinstance(text, str) and len(text) >= 16


def number(text: str) -> bool:
    return 0 < int(text) < 2**31


def has(*parts: str) -> Callable[[str], bool]:
    return lambda text: all(part in text for part in parts)


def analog(text: str) -> bool:
    (one,) = json.loads(text)
    device = pulser.abstract_repr.deserialize_device(one["specs"])
    return one["device_type"] == device.name == "AnalogDevice"


GONE, NO = ("404",), ("403",)
TOO_LONG = to_program(small_sequence(pulser.MockDevice, duration_ns=9000)).content
OTHER_DEVICE = to_program(small_sequence(pulser.DigitalAnalogDevice)).content

CHECKS = [
    Check("accessible to root", "root", ("is_accessible",), True),
    Check("accessible to a user", "user", ("is_accessible",), True),
    Check("accessible to anybody", "intruder", ("is_accessible",), True),
    Check("status", "user", ("status",), lambda said: said["status"] == "online"),
    Check("root acquires", "root", ("acquire",), fresh),
    Check("a user doesn't acquire", "user", ("acquire",), parts=NO),
    Check("nor does another", "intruder", ("acquire",), parts=NO),
    Check("target", "user", ("target",), analog),
    Check("target for root", "root", ("target",), analog),
    Check("Pulser finds the device", "user", ("devices",), ["AnalogDevice"]),
    Check("start", "user", ("task_start", SEQUENCE, 20), number),
    Check("an intruder starts nothing", "intruder", ("task_start", SEQUENCE, 20), parts=NO),
    Check(
        "nor does root in a user's session", "root", ("task_start", SEQUENCE, 20), parts=(TOKEN,)
    ),
    Check("no shots", "user", ("task_start", SEQUENCE, 0), parts=("400", "shots")),
    Check("negative shots", "user", ("task_start", SEQUENCE, -5), parts=("400", "shots")),
    Check(
        "too many for the class", "user", ("task_start", SEQUENCE, 5001), parts=("at most 5000",)
    ),
    Check("10^9 shots", "user", ("task_start", SEQUENCE, 10**9), parts=("400", "shots")),
    Check("text", "user", ("task_start", "text", 20), parts=("422", "no valid JSON")),
    Check("nothing", "user", ("task_start", "", 20), parts=("400", "sequence")),
    Check("another object", "user", ("task_start", "{}", 20), parts=("422", "no Pulser sequence")),
    Check("a rule", "user", ("task_start", TOO_LONG, 20), parts=("422", "AnalogDevice")),
    Check("a device", "user", ("task_start", OTHER_DEVICE, 20), parts=("422", "AnalogDevice")),
    Check("done", "user", ("task_status", "{done}"), "Completed"),
    Check("running", "user", ("task_status", "{running}"), "Running"),
    Check("waiting", "user", ("task_status", "{waiting}"), "Queued"),
    Check("cancelled", "user", ("task_status", "{cancelled}"), "Cancelled"),
    Check("failed", "user", ("task_status", "{failed}"), "Failed"),
    Check("an intruder sees no status", "intruder", ("task_status", "{done}"), parts=GONE),
    Check("unknown task", "user", ("task_status", "2147483647"), parts=GONE),
    Check("no number", "user", ("task_status", "abc"), parts=("400",)),
    Check("result", "user", ("task_result", "{done}"), full_counter),
    Check("no result yet", "user", ("task_result", "{running}"), parts=("TaskNotReady",)),
    Check(
        "none of a cancelled one", "user", ("task_result", "{cancelled}"), parts=("TaskNotReady",)
    ),
    Check("none of a failed one", "user", ("task_result", "{failed}"), parts=("TaskNotReady",)),
    Check("an intruder gets no result", "intruder", ("task_result", "{done}"), parts=GONE),
    Check("an intruder stops nothing", "intruder", ("task_stop", "{running}"), parts=GONE),
    Check("stop of a done one", "user", ("task_stop", "{done}"), None),
    Check("it is still done", "user", ("task_status", "{done}"), "Completed"),
    Check("logs of a done one", "user", ("task_logs", "{done}"), has("20 of 20 shots counted")),
    Check(
        "logs of a waiting one",
        "user",
        ("task_logs", "{waiting}"),
        has("it waits: ", "place in line: 1", "expected start: "),
    ),
    Check("logs of a failed one", "user", ("task_logs", "{failed}"), has("error: ", "LOST")),
    Check("an intruder reads no logs", "intruder", ("task_logs", "{done}"), parts=GONE),
    Check("an intruder releases nothing", "intruder", ("release", "{token}"), parts=GONE),
    Check("release of what isn't there", "root", ("release", "nothing"), parts=GONE),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_wheel_gets_what_it_relies_on(world: World, check: Check) -> None:
    check.run(world)


# -- whole flows --------------------------------------------------------------------------------


def test_what_spank_does_a_job_runs_pulser_and_the_session_ends_with_it(served: Any) -> None:
    """The plugin as root: accessible, acquire, the token into the job's environment, release."""
    with QrmiUser(None, environment(served)) as plugin:
        assert plugin.call("is_accessible").done()
        token = plugin.call("acquire").done()
        with QrmiUser(USER, environment(served) | {TOKEN: token}) as job:
            batch = job.call("run_batch", SEQUENCE, [50, 30], True).done()
            assert batch["status"] == "DONE"
            assert [sum(counts.values()) for counts in batch["counts"]] == [50, 30]
            logs = job.call("batch_logs", batch["id"]).done()
            assert ["50 of 50" in logs[0], "30 of 30" in logs[1]] == [True, True]
            plugin.call("release", token).done()
            refused = job.call("task_start", SEQUENCE, 20)
            assert refused.error is not None
            assert "403" in refused.error
            assert "closed" in refused.error
            assert job.call("task_status", batch["id"].partition("|")[0]).done() == "Completed"


def test_a_batch_that_is_cancelled_ends_and_keeps_what_it_counted(
    served: Any, world: World
) -> None:
    """Higher class, so that it goes before what the other tests have waiting there."""
    given = environment(served, "slow:production") | {TOKEN: world.token}
    with QrmiUser(USER, given) as job:
        batch = job.call("run_batch", SEQUENCE, [2000, 2000], False).done()
        first, second = batch["id"].split("|")
        while "chunk 0 FINISHED" not in job.call("task_logs", first).done():
            time.sleep(0.05)  # QRMI has nothing to wait with
        job.call("cancel_batch", batch["id"]).done()
        assert (ended(job, first), ended(job, second)) == ("Cancelled", "Cancelled")
        assert job.call("batch", batch["id"]).done()["status"] == "CANCELED"
        logs = job.call("task_logs", first).done()
        shots = sum(json.loads(job.call("task_result", first).done())["counter"].values())
        assert 0 < shots < 2000
        assert f"it is CANCELLED: {shots} of 2000 shots counted" in logs


def test_our_own_adapter_drives_a_manager_through_the_wheel(
    served: Any, make_manager: Callable[..., Any]
) -> None:
    front = make_manager(site=OF_MANAGER.replace("@url", f"{served.url}/warden/emulator"))
    front.start()
    with front.connect() as client:
        result = client.submit(small_sequence(), 40).result(timeout=120)
        assert sum(result.counts.values()) == result.shots == 40
        assert client.qpu("behind").device == "AnalogDevice"
    with served.connect() as behind:
        (session,) = [one for one in behind.sessions() if one.name == "Slurm job 9"]
        assert (session.owner, session.closed_at) == ("root", None)
        assert front.stop() == 0
        (session,) = [one for one in behind.sessions() if one.name == "Slurm job 9"]
        assert session.closed_at is not None


def test_the_wheel_takes_https_with_the_site_s_own_authority(
    munged: None, make_manager: Callable[..., Any], tmp_path: Path
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "k.pem")
    (tmp_path / "k.pem").chmod(0o600)
    issued.cert_chain_pems[0].write_to_path(tmp_path / "c.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files = f"tls: {{{{certificate: {tmp_path}/c.pem, key: {tmp_path}/k.pem}}}}"
    encrypted = SITE.replace("  authentication", f"  {files}\n  authentication")
    served = make_manager("https://127.0.0.1:0", encrypted)
    served.start()
    vouched = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    with QrmiUser(None, environment(served) | vouched) as root:
        assert len(root.call("acquire").done()) >= 16
    with QrmiUser(None, environment(served)) as stranger:
        assert "error sending request" in str(stranger.call("acquire").error)
