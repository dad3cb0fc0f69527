"""squid: an HTTP proxy that keeps connections, and forwards and opens tunnels as RFC 9110 says."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ._programs import let_nobody_read, require_program, running_on_ports

SquidPort = Literal["open", "closed"]

SQUID_CREDENTIALS = ("ada", "s3:cret")

# An @WORD@ is filled in.
_CONFIG = """\
http_port 127.0.0.1:@OPEN@ name=open
# Wants credentials.
http_port 127.0.0.1:@CLOSED@ name=closed
visible_hostname squid.test
@USER@
pid_filename none
netdb_filename none
coredump_dir none
pinger_enable off
icp_port 0
# The default is what the system allows, and squid makes a table of it: that can take seconds.
max_filedescriptors 4096
cache deny all
cache_log @DIRECTORY@/squid.log
logfile_rotate 0
logformat requests %>p %rm %ru %>Hs
access_log stdio:@DIRECTORY@/access.log logformat=requests
# Names that only squid knows: what is asked for by name was looked up there.
hosts_file @DIRECTORY@/hosts
dns_nameservers 127.0.0.1
dns_timeout 1 second
connect_retries 0
auth_param basic program /bin/sh @DIRECTORY@/helper.sh
auth_param basic children 2 startup=1 idle=1
auth_param basic realm triopool
acl closed myportname closed
acl known proxy_auth REQUIRED
acl forbidden dstdomain forbidden.test
http_access deny forbidden
http_access deny closed !known
http_access allow all
"""

_HOSTS = "127.0.0.1 one.test two.test forbidden.test\n"

# squid's way to ask about credentials: a line, and the answer to it.
_HELPER = """\
while read -r name password; do
    case "$name $password" in
        "@NAME@ @PASSWORD@" | "@NAME@ @ENCODED@") echo OK ;;
        *) echo ERR ;;
    esac
done
"""


@dataclass(frozen=True)
class Squid:
    """A running squid.

    It knows one.test, two.test and forbidden.test, which are this machine; 403 is its answer for
    the last one.

    Attributes:
      ports: where anybody may ask, and where :data:`SQUID_CREDENTIALS` are wanted.
      log: the file with the requests.
    """

    ports: dict[SquidPort, int]
    log: Path
    process: subprocess.Popen[bytes]

    def url(self, server: SquidPort = "open", *, credentials: str = "") -> str:
        """The proxy's URL; *credentials* are ``name:password``, percent-encoded."""
        at = f"{credentials}@" if credentials else ""
        return f"http://{at}127.0.0.1:{self.ports[server]}"

    def requests(self, containing: str = "") -> list[str]:
        """The lines of the log with *containing* in them, oldest first.

        A line is ``our-port method uri status``, and stands there once the exchange has ended.
        """
        return [line for line in self.log.read_text().splitlines() if containing in line]


@contextmanager
def run_squid(directory: Path) -> Iterator[Squid]:
    """Run squid with its files in *directory* until the block ends.

    Root's squid drops to "nobody", who must be able to reach *directory*: so not one of pytest's.
    """
    program = require_program("squid")
    name, password = SQUID_CREDENTIALS
    helper = _HELPER.replace("@NAME@", name).replace("@PASSWORD@", password)
    (directory / "helper.sh").write_text(helper.replace("@ENCODED@", password.replace(":", "%3A")))
    (directory / "hosts").write_text(_HOSTS)
    config, requests = directory / "squid.conf", directory / "access.log"
    requests.touch()

    def arguments(ports: dict[SquidPort, int]) -> list[object]:
        text = _CONFIG.replace("@USER@", "cache_effective_user nobody" if _is_root() else "")
        for server, port in ports.items():
            text = text.replace(f"@{server.upper()}@", str(port))
        config.write_text(text.replace("@DIRECTORY@", str(directory)))
        let_nobody_read(directory)
        return [program, "-N", "-f", config]

    names: tuple[SquidPort, ...] = ("open", "closed")
    # Asked politely it takes three seconds. There is nothing to be saved, and its helper ends with
    # it.
    end = signal.SIGKILL
    with running_on_ports(names, arguments, directory / "squid.log", end=end) as (ports, process):
        yield Squid(ports, requests, process)


def _is_root() -> bool:
    return os.geteuid() == 0
