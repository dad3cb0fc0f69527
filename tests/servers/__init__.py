"""Real servers for tests, written by others: nginx, haproxy, hypercorn on Trio, websockets.

All listen on ports that the system chose, on loopback only, and speak plain HTTP as well as TLS
with a certificate that ``trustme`` made. The fixtures around them are in ``conftest.py``.

The ones that are programs are started in a race-free way: the sockets are bound to port 0 here and
inherited by the program, each in its own way. No port is ever closed and hoped to be still free a
moment later.
"""

from ._haproxy import Haproxy, run_haproxy
from ._hypercorn import ROUTES, app, respond, serve_hypercorn
from ._nginx import BAD_CERTIFICATES, Nginx, NginxServer, run_nginx
from ._programs import START_SECONDS, open_sockets, require_program, server_certificate
from ._websockets import WebSocketServer, run_websockets

__all__ = [
    "BAD_CERTIFICATES",
    "ROUTES",
    "START_SECONDS",
    "Haproxy",
    "Nginx",
    "NginxServer",
    "WebSocketServer",
    "app",
    "open_sockets",
    "require_program",
    "respond",
    "run_haproxy",
    "run_nginx",
    "run_websockets",
    "serve_hypercorn",
    "server_certificate",
]
