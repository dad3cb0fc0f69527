"""Real servers for tests, written by others: nginx, haproxy, hypercorn on Trio, websockets; and the
proxies squid, tinyproxy, dante, microsocks.

All listen on ports that the system chose, on loopback only, and speak plain HTTP as well as TLS
with a certificate that ``trustme`` made. The fixtures around them are in ``conftest.py``.

The ones that are programs are started in a race-free way: the sockets are bound to port 0 here and
inherited by the program, each in its own way. No port is ever closed and hoped to be still free a
moment later. The proxies can't inherit sockets: they bind ports that are kept for them, also while
a test has killed one and not yet started it again.
"""

from ._dante import FORBIDDEN_PORT, Dante, run_dante
from ._haproxy import Haproxy, run_haproxy
from ._hypercorn import ROUTES, app, respond, serve_hypercorn
from ._microsocks import MICROSOCKS_CREDENTIALS, Microsocks, run_microsocks
from ._nginx import BAD_CERTIFICATES, Nginx, NginxServer, run_nginx
from ._programs import (
    START_SECONDS,
    kill,
    open_sockets,
    require_program,
    running_again,
    server_certificate,
)
from ._squid import SQUID_CREDENTIALS, Squid, run_squid
from ._tinyproxy import TINYPROXY_CREDENTIALS, Tinyproxy, run_tinyproxy
from ._tls_front import TLSFront, run_tls_front
from ._websockets import WebSocketServer, run_websockets

__all__ = [
    "BAD_CERTIFICATES",
    "FORBIDDEN_PORT",
    "MICROSOCKS_CREDENTIALS",
    "ROUTES",
    "SQUID_CREDENTIALS",
    "START_SECONDS",
    "TINYPROXY_CREDENTIALS",
    "Dante",
    "Haproxy",
    "Microsocks",
    "Nginx",
    "NginxServer",
    "Squid",
    "TLSFront",
    "Tinyproxy",
    "WebSocketServer",
    "app",
    "kill",
    "open_sockets",
    "require_program",
    "respond",
    "run_dante",
    "run_haproxy",
    "run_microsocks",
    "run_nginx",
    "run_squid",
    "run_tinyproxy",
    "run_tls_front",
    "run_websockets",
    "running_again",
    "serve_hypercorn",
    "server_certificate",
]
