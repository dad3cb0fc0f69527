"""Real servers for tests, written by others: nginx, and hypercorn on Trio.

Both listen on ports that the system chose, on loopback only, and speak plain HTTP as well as TLS
with a certificate that ``trustme`` made. The fixtures around them are in ``conftest.py``.

nginx is started in a race-free way: the sockets are bound to port 0 here and inherited by it, by
the same variable that nginx uses to hand its sockets over in an upgrade. No port is ever closed
and hoped to be still free a moment later.
"""

from __future__ import annotations

import datetime
import http.client
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import hypercorn
import hypercorn.trio
import pytest
import trio
import trustme

# Picked arbitrarily; a server that has not started by then never will.
START_SECONDS = 20.0


def require_program(name: str) -> str:
    """Return the path of a program that a test cannot do without, or skip the test.

    On CI, where every program is to be installed, its absence is a failure: a skip would hide it.
    """
    # Debian keeps servers in sbin, which the PATH of an ordinary user does not have.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        reason = f"needs {name}, which is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def open_sockets() -> set[tuple[int, int]]:
    """Every socket that this process has open, as (descriptor, inode).

    Raises:
      FileNotFoundError: this system has no ``/dev/fd`` to look at.
    """
    found = set()
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found.add((int(name), status.st_ino))
    return found


# ── nginx ──────────────────────────────────────────────────────────────────────────────────────

NginxServer = Literal["plain", "tls", "silent", "announced", "three", "closing"]

# What makes the server blocks differ. All of them have all the locations.
_KEEP_ALIVE: dict[NginxServer, str] = {
    "plain": "keepalive_timeout 75s;",
    "tls": "keepalive_timeout 75s;",
    # Closes an idle connection after 100 ms and does not say so beforehand.
    "silent": "keepalive_timeout 100ms;",
    # Closes after 2 s, and says "Keep-Alive: timeout=2".
    "announced": "keepalive_timeout 2s 2s;",
    # Cuts the connection after its third request, with "Connection: close" on that response.
    "three": "keepalive_requests 3;",
    # "Connection: close" on every response.
    "closing": "keepalive_timeout 0;",
}

# Names for the TLS port whose certificate is bad; reach them with ``server_hostname`` or a
# resolver of one's own.
BAD_CERTIFICATES = ("expired.test", "not-yet-valid.test", "wrong-host.test", "untrusted.test")

# An @WORD@ is filled in.
_CONFIG = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log notice;
@USER@
events { worker_connections 4096; }
http {
    log_format requests '$connection $connection_requests $request_method $request_uri $status';
    access_log access.log requests;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    default_type text/plain;
    types { text/html html shtml; }
    sendfile on;
    # Before 1.23.4 the default is without 1.3, whose session tickets are a story of their own.
    ssl_protocols TLSv1.2 TLSv1.3;
    # Which connection carried the request, and how many it has carried: who wants to know
    # whether a connection was reused asks the server.
    add_header X-Connection $connection always;
    add_header X-Connection-Requests $connection_requests always;
    server {
        listen unix:@DIRECTORY@/length.sock;
        client_max_body_size 64m;
        location / { return 200 "$content_length\\n"; }
    }
@SERVERS@
}
"""

_LOCATIONS = """\
root www;
location /          { }
location /whoami    { return 200 "$connection $connection_requests $remote_port $ssl_server_name"; }
location /pid       { return 200 $pid; }
location /nothing   { return 204; }
location /redirect  { return 302 /; }
location /unavailable { return 503 "come back later\\n"; }
# Slow enough that a test can act in the middle of the body.
location /slow      { alias www/large; limit_rate 64k; limit_rate_after 64k; }
# Server-side includes make nginx forget the length: chunked, or ended by the close.
location /chunked   { alias www/2000; ssi on; ssi_types *; }
location /until-close { alias www/2000; ssi on; ssi_types *; chunked_transfer_encoding off; }
# Reads the whole body, then tells its length.
location /post      { client_max_body_size 64m; proxy_pass http://unix:@DIRECTORY@/length.sock:/; }
# PUT what GET and DELETE then find.
location /store/    { client_max_body_size 64m; dav_methods PUT DELETE; create_full_put_path on; }
# 413 for more than 1 KiB, as soon as that shows: from the length that the request tells, or from
# the chunks so far. Politely, reading on for a while; or closing at once, with a reset.
location /limited   { client_max_body_size 1k; proxy_pass http://unix:@DIRECTORY@/length.sock:/; }
location /limited-reset {
    client_max_body_size 1k; lingering_close off; lingering_time 0;
    proxy_pass http://unix:@DIRECTORY@/length.sock:/;
}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
      ports: the port of every server block, by its name.
      directory: its prefix: ``www`` has the files, ``error.log`` what went wrong.
      socket_path: a Unix socket that answers as ``plain`` does.
    """

    ports: dict[NginxServer, int]
    directory: Path
    socket_path: Path
    process: subprocess.Popen[bytes]

    def url(
        self, path: str = "/", *, server: NginxServer = "plain", host: str = "127.0.0.1"
    ) -> str:
        """The URL of *path* at one of the server blocks."""
        scheme = "https" if server == "tls" else "http"
        return f"{scheme}://{host}:{self.ports[server]}{path}"

    def requests(self, containing: str = "") -> list[str]:
        """The lines of the access log with *containing* in them, oldest first.

        A line is ``connection requests-of-connection method uri status``, and stands there once
        the response was sent. It is one log for all tests: put something unique into the URL.
        """
        lines = (self.directory / "access.log").read_text().splitlines()
        return [line for line in lines if containing in line]

    def reload(self) -> None:
        """Replace the worker, as a deployment does; idle connections are closed. Blocks."""
        old = self._worker()
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        while self._worker() == old or _is_running(old):
            if time.monotonic() > deadline:
                raise RuntimeError("nginx did not replace its worker; is a request under way?")
            time.sleep(0.01)

    def _worker(self) -> int:
        return int(_get(self.ports["plain"], "/pid"))


@contextmanager
def run_nginx(directory: Path, ca: trustme.CA) -> Iterator[Nginx]:
    """Run nginx with its files in *directory*, which is to be empty, until the block ends."""
    program = require_program("nginx")
    _write_files(directory, ca)
    socket_path = directory / "nginx.sock"
    with ExitStack() as sockets:
        listeners = {name: sockets.enter_context(_listener()) for name in _KEEP_ALIVE}
        ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
        (directory / "nginx.conf").write_text(_config(directory, ports, socket_path))
        fds = [listener.fileno() for listener in listeners.values()]
        process = subprocess.Popen(
            [program, "-p", directory, "-c", "nginx.conf", "-e", "error.log"],
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
            env={**os.environ, "NGINX": "".join(f"{fd};" for fd in fds)},
        )
    nginx = Nginx(ports, directory, socket_path, process)
    try:
        _wait_until_it_answers(nginx)
        yield nginx
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(511)  # as many as nginx itself would ask for
    return listener


def _write_files(directory: Path, ca: trustme.CA) -> None:
    (directory / "tmp").mkdir()
    www = directory / "www"
    www.mkdir()
    (www / "store").mkdir()
    (www / "index.html").write_bytes(b"<!doctype html><title>triopool</title>\n")
    (www / "2000").write_bytes(b"0123456789abcde\n" * 125)
    (www / "large").write_bytes(bytes(range(256)) * (4 << 12))  # 4 MiB

    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    day = datetime.timedelta(days=1)
    certificates = {
        "good": server_certificate(ca),
        "expired.test": ca.issue_cert(
            "expired.test", not_before=now - 2 * day, not_after=now - day
        ),
        "not-yet-valid.test": ca.issue_cert("not-yet-valid.test", not_before=now + day),
        "wrong-host.test": ca.issue_cert("another.test"),
        "untrusted.test": trustme.CA().issue_cert("untrusted.test"),
    }
    for name, certificate in certificates.items():
        certificate.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")


def _config(directory: Path, ports: dict[NginxServer, int], socket_path: Path) -> str:
    def server(listen: str, name: NginxServer, certificate: str = "good", more: str = "") -> str:
        pem = f"ssl_certificate {certificate}.pem; ssl_certificate_key {certificate}.pem;"
        return f"server {{ listen {listen}; {pem} {more} {_KEEP_ALIVE[name]}\n{_LOCATIONS} }}"

    listen = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    listen["tls"] += " ssl"
    servers = [server(listen[name], name) for name in ports]
    servers += [server(f"unix:{socket_path}", "plain")]
    servers += [
        server(listen["tls"], "tls", name, f"server_name {name};") for name in BAD_CERTIFICATES
    ]
    return (
        _CONFIG.replace("@SERVERS@", "\n".join(servers))
        .replace("@USER@", _user())
        .replace("@DIRECTORY@", str(directory))
    )


def _user() -> str:
    """Root's workers would drop to an account that cannot read our directory: say they don't."""
    if os.geteuid() != 0:
        return ""
    import grp  # does not exist on Windows, where the rest of this file can be imported

    return f"user root {grp.getgrgid(0).gr_name};"


def _wait_until_it_answers(nginx: Nginx) -> None:
    # The socket has been listening all along, so that connecting tells nothing: ask something.
    try:
        _get(nginx.ports["plain"], "/nothing", START_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        path = nginx.directory / "error.log"
        log = path.read_text() if path.exists() else "It wrote no log; did it say anything above?"
        raise RuntimeError(f"nginx did not start: {nginx.process.poll()=}\n{log}") from error


def _get(port: int, path: str, timeout: float = 5.0) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read()
    finally:
        connection.close()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ── hypercorn ──────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def serve_hypercorn(
    certificate: Path | None = None, *, keep_alive_timeout: float = 5.0
) -> AsyncIterator[str]:
    """Serve :func:`app` with hypercorn in this very event loop; yields its URL, without a slash.

    Args:
      certificate: a PEM file with key and certificate chain, for TLS.
      keep_alive_timeout: hypercorn closes a connection that was idle for so many seconds.
    """
    config = hypercorn.Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.keep_alive_timeout = keep_alive_timeout
    config.graceful_timeout = 0.5  # for requests still under way when the block ends
    if certificate is not None:
        config.certfile = config.keyfile = str(certificate)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(
            lambda task_status: hypercorn.trio.serve(
                app, config, shutdown_trigger=stop.wait, task_status=task_status
            )
        )
        try:
            yield urls[0]
        finally:
            stop.set()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application behind hypercorn: one behaviour for each path."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _echo_websocket(receive, send)
    else:
        query = dict(parse_qsl(scope["query_string"].decode()))
        await _ROUTES.get(scope["path"], _not_found)(scope, query, receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    for event in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{event}"
        await send({"type": f"lifespan.{event}.complete"})


async def _echo_websocket(receive: Any, send: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({**message, "type": "websocket.send"})


async def _respond(
    send: Any, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _hello(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    await _respond(send, b"Hello, world!\n", 200, (b"content-type", b"text/plain; charset=utf-8"))


async def _not_found(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    await _respond(send, b"Not found\n", 404)


async def _chunked(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """No length told: ``?chunks=3&seconds=0`` of them, and a pause before each."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for i in range(int(query.get("chunks", 3))):
        await trio.sleep(float(query.get("seconds", 0)))
        await send({"type": "http.response.body", "body": b"chunk %d\n" % i, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _slow(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Nothing at all for ``?seconds=1``, then an answer."""
    await trio.sleep(float(query.get("seconds", 1)))
    await _respond(send, b"at last\n")


async def _echo(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """The body of the request, once it is here as a whole."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    await _respond(send, bytes(body), 200, (b"x-method", scope["method"].encode()))


async def _headers(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """The fields of the request, as JSON: a list of name and value."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    await _respond(send, json.dumps(fields).encode(), 200, (b"content-type", b"application/json"))


async def _refuse(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """413 without a look at the body."""
    await _respond(send, b"too much\n", 413)


_ROUTES = {
    "/": _hello,
    "/chunked": _chunked,
    "/slow": _slow,
    "/echo": _echo,
    "/headers": _headers,
    "/refuse": _refuse,
}


def server_certificate(ca: trustme.CA) -> trustme.LeafCert:
    """A certificate for every name that the servers of the tests go by."""
    return ca.issue_cert("localhost", "127.0.0.1", "::1", "one.test", "two.test")
