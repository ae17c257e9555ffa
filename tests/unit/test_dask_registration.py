"""What quantum_task() finds out at once from the current client's cluster."""

import pytest
from distributed import Client, LocalCluster

from qpu_executor.dask import quantum_task, registration
from qpu_executor.dask.address import ManagerAddress, this_host
from qpu_executor.dask.scheduler_plugin import QPUSchedulerPlugin
from qpu_executor.errors import ManagerUnreachable, RequestRefused
from qpu_executor.programs.program import Program

pytestmark = pytest.mark.timeout(180)


class Named:
    device = "AnalogDevice"

    def __init__(self, name):
        self.name = name


class PlayedSite:
    """Answers what a scheduler asks. `asked`: how often."""

    asked = 0
    qpu_names = ("fresnel",)

    async def qpus(self):
        PlayedSite.asked += 1
        return [Named(name) for name in PlayedSite.qpu_names]

    async def classes(self):
        return [Named("production")]

    async def close(self):
        pass


class PlayedAddress(ManagerAddress):
    async def open(self, wait_s=None):
        if self.url == "away":
            raise ManagerUnreachable("nobody answers")
        return PlayedSite()


def build(value):
    return Program("test", str(value))


@pytest.fixture
def client():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def registered(client):
    PlayedSite.asked, PlayedSite.qpu_names = 0, ("fresnel",)
    client.register_plugin(QPUSchedulerPlugin(PlayedAddress("here", this_host())))
    return client


def test_without_the_plugin_it_is_an_error_that_names_it(client):
    with pytest.raises(RequestRefused, match=r"client\.register_plugin\(QPUPlugin\(\)\)"):
        quantum_task(build, shots=1)


@pytest.mark.usefixtures("registered")
def test_unknown_qpus_and_classes_are_errors_with_the_names_there_are():
    assert quantum_task(build, shots=1, qpu="fresnel", job_class="production").options.shots == 1
    with pytest.raises(RequestRefused, match=r"no QPU 'fresnl'.*one of: fresnel"):
        quantum_task(build, shots=1, qpu="fresnl")
    with pytest.raises(RequestRefused, match=r"no job class 'prod'.*one of: production"):
        quantum_task(build, shots=1, job_class="prod")


@pytest.mark.usefixtures("registered")
def test_answers_are_remembered_and_asked_anew_before_a_refusal():
    for _ in range(5):
        quantum_task(build, shots=1, qpu="fresnel")
    assert PlayedSite.asked == 1
    PlayedSite.qpu_names = ("fresnel", "orion")
    quantum_task(build, shots=1, qpu="orion")
    assert PlayedSite.asked == 2


def test_a_manager_that_the_scheduler_cant_reach_refuses_nothing_here(client):
    client.register_plugin(QPUSchedulerPlugin(PlayedAddress("away", this_host())))
    assert quantum_task(build, shots=1, qpu="fresnel").options.qpu == "fresnel"


@pytest.mark.usefixtures("registered")
def test_on_a_worker_nothing_is_asked(client):
    def make():
        return quantum_task(build, shots=1, qpu="fresnl").options.qpu

    assert client.submit(make).result() == "fresnl"
    assert PlayedSite.asked == 0


def test_a_closed_client_is_not_asked():
    assert registration._current_client() is None
    assert quantum_task(build, shots=1, qpu="fresnl").options.qpu == "fresnl"
