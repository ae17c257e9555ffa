"""The first exchange with a manager: is it there, is it ours, do the versions fit."""

from __future__ import annotations

import errno
import os

from qpu_executor.client import protocol
from qpu_executor.client.address import Address
from qpu_executor.client.channel import Channel
from qpu_executor.client.versions import misfit
from qpu_executor.errors import ManagerUnreachable
from qpu_executor.wire.site import HealthOut

FIRST_WAIT_S = 3.0
"""A manager that was never seen is more likely a wrong address than an outage."""

PRODUCT = "qpu-executor"


async def first_contact(channel: Channel) -> HealthOut:
    """The manager's hello. Raises ManagerUnreachable if it isn't there or isn't ours."""
    check_socket(channel.transport.address)
    hello = await channel.call(
        protocol.health(), HealthOut, wait_s=min(FIRST_WAIT_S, channel.wait_s)
    )
    if hello.product != PRODUCT:
        raise ManagerUnreachable(
            f"{hello.product!r} answers, not a QPU manager",
            where=channel.url,
            next_step="correct QPU_MANAGER or the address",
        )
    unfit = misfit(hello, channel.url)
    if unfit is not None:
        raise unfit
    channel.manager_version = hello.version
    return hello


def check_socket(address: Address) -> None:
    """A unix socket without a file can't answer: say so at once.

    Raises ManagerUnreachable.
    """
    if address.socket_path is None:
        return
    try:
        os.stat(address.socket_path)
    except OSError as error:
        if error.errno == errno.EACCES:
            message = f"this user may not reach the socket {address.socket_path}"
            next_step = "ask the site's operators who may"
        else:
            # A service's directory under /run goes, and comes back, with the service.
            message = (
                f"there is no socket {address.socket_path} on this host: the manager there has "
                "ended or is being restarted, or it is another host's"
            )
            next_step = (
                "try again in a moment; an embedded manager ends with its owner, and serves its "
                "host alone: for several start one with: qpu serve --site configs/site.yaml "
                "--listen http://HOST:PORT, and set QPU_MANAGER to it"
            )
        raise ManagerUnreachable(message, where=address.url, next_step=next_step) from None
