"""Two hosts on one machine: network namespaces that a pair of virtual cards joins. Needs Linux, root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

PORT = 29500


@dataclass(frozen=True)
class Host:
    """One of the two.

    Attributes:
        name: of its namespace.
        card: of its network card.
        address: of the card.
    """

    name: str
    card: str
    address: str

    def line(self, words: Sequence[str]) -> list[str]:
        """A command line that runs there."""
        return ["ip", "netns", "exec", self.name, *words]

    def agent(self, first: Host, restarts: int = 0) -> list[str]:
        """torchrun there, which meets the others at the first host; run_net.py and its words follow."""
        meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"{first.address}:{PORT}", "--rdzv_id", "two-hosts"]
        # A namespace has the machine's name, so a host cannot tell by it that it is the first.
        role = ["--rdzv_conf", f"is_host={int(self == first)},read_timeout=5", "--local_addr", self.address]
        flags = ["--nnodes", "2", "--nproc_per_node", "1", "--max_restarts", str(restarts)]
        return self.line([sys.executable, "-m", "torch.distributed.run", *meeting, *role, *flags])


class TwoHosts:
    """Two hosts and the cable between them."""

    def __init__(self) -> None:
        number = os.getpid() % 100000
        self.hosts = tuple(
            Host(f"transm3e-{side}-{number}", f"t{side}{number}", f"10.213.{number % 256}.{place}")
            for place, side in ((1, "a"), (2, "b"))
        )

    def cut(self) -> None:
        """Pull the cable: nothing is answered, and nothing is refused."""
        self._ip("-n", self.hosts[0].name, "link", "set", self.hosts[0].card, "down")

    def mend(self) -> None:
        """Put it back."""
        self._ip("-n", self.hosts[0].name, "link", "set", self.hosts[0].card, "up")

    def make(self) -> None:
        """Build them.

        Raises:
            subprocess.CalledProcessError: this machine does not allow it.
        """
        one, two = self.hosts
        for host in self.hosts:
            self._ip("netns", "add", host.name)
        self._ip(
            *("link", "add", one.card, "netns", one.name, "type", "veth"),
            *("peer", "name", two.card, "netns", two.name),
        )
        for host in self.hosts:
            self._ip("-n", host.name, "addr", "add", f"{host.address}/30", "dev", host.card)
            self._ip("-n", host.name, "link", "set", "lo", "up")
            self._ip("-n", host.name, "link", "set", host.card, "up")

    def remove(self) -> None:
        """Take down what is there; the cards go with their hosts."""
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], capture_output=True, text=True, check=True)


def why_not() -> str:
    """Why two hosts cannot be built here; "" if they can."""
    if not sys.platform.startswith("linux"):
        return f"network namespaces are Linux's, this is {sys.platform}"
    if shutil.which("ip") is None:
        return "the command ip (iproute2) is missing"
    try:
        with two_hosts():
            return ""
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"


@contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Two hosts for a while."""
    hosts = TwoHosts()
    try:
        hosts.make()
        yield hosts
    finally:
        hosts.remove()
