"""nginx, as the benchmarks need it.

**One worker.** It has a core to itself when the client has another, and no second one takes the
client's.

**An upload is read to its last byte before it is answered.** ``return`` would answer at once, and
go on to throw away whatever still comes: the client would be measured while it talks to nobody.
What has to have the body before it can begin is ``proxy_pass``; it is told not to pass the body on,
and behind it a second server block answers with what the first one has counted. The buffer is as
large as the body: with a smaller one nginx would write it to a file.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import descriptors
from .programs import Place, ask, running, wait_until

# Connections that wait to be accepted: as many are opened at once in some experiments. The system
# may allow fewer.
_BACKLOG = 4096

# An @WORD@ is filled in.
_CONFIG = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile @DESCRIPTORS@;
pid nginx.pid;
error_log error.log;
@USER@
events { worker_connections @CONNECTIONS@; multi_accept on; }
http {
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nopush on;
    # Else each request would open its file anew.
    open_file_cache max=100 inactive=1h;
    open_file_cache_valid 1h;
    # Before 1.23.4 the default is without 1.3.
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate server.pem;
    ssl_certificate_key server.pem;
    client_header_buffer_size 1k;
    client_body_buffer_size 64m;
    client_max_body_size 64m;
    upstream lengths { server unix:@DIRECTORY@/lengths.sock; keepalive 16; }
    server {
        listen 0.0.0.0:@PLAIN@ backlog=@BACKLOG@;
        listen 0.0.0.0:@TLS@ ssl backlog=@BACKLOG@;
        root www;
        location = /upload {
            proxy_pass http://lengths;
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header X-Length $content_length;
            proxy_set_header X-Read $request_length;
        }
    }
    server {
        listen unix:@DIRECTORY@/lengths.sock;
        location / { return 200 "$http_x_length $http_x_read"; }
    }
}
"""


def _find() -> str | None:
    # Debian keeps servers in sbin, which the PATH of an ordinary user does not have.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return None if sys.platform == "win32" else shutil.which("nginx", path=path)


def is_installed() -> bool:
    return _find() is not None


@contextmanager
def run(place: Place) -> Iterator[tuple[str, int, int]]:
    """Run nginx until the block ends; gives its name, and its ports without and with TLS."""
    program = _find()
    assert program is not None
    (place.directory / "tmp").mkdir()
    # Bound here and inherited: no port is closed and hoped to be still free a moment later.
    with socket.socket() as plain, socket.socket() as tls:
        for sock in (plain, tls):
            sock.bind(("0.0.0.0", 0))
            sock.listen(_BACKLOG)
            sock.setblocking(False)  # as nginx has its own: it accepts until there is nobody left
        ports = plain.getsockname()[1], tls.getsockname()[1]
        (place.directory / "nginx.conf").write_text(_config(place.directory, *ports))
        command = [program, "-p", str(place.directory), "-c", "nginx.conf", "-e", "error.log"]
        fds = plain.fileno(), tls.fileno()
        # The variable by which nginx hands its sockets over to itself in an upgrade.
        inherited = "".join(f"{fd};" for fd in fds)
        log = place.directory / "error.log"
        with (
            log.open("ab") as file,
            running(command, file, pass_fds=fds, NGINX=inherited) as process,
        ):
            # They listen already, so that connecting would tell nothing.
            wait_until(lambda: ask(ports[0], "GET", "/2000"), process, log)
            yield _version(program), *ports


def _config(directory: Path, plain: int, tls: int) -> str:
    limit = descriptors.raise_limit()
    words = {
        "DIRECTORY": directory,
        "DESCRIPTORS": limit,
        # A connection may need a file besides; there are 10,000 idle ones at the most.
        "CONNECTIONS": max(512, limit - 4000),
        "BACKLOG": _BACKLOG,
        "PLAIN": plain,
        "TLS": tls,
        "USER": _user(),
    }
    config = _CONFIG
    for word, meaning in words.items():
        config = config.replace(f"@{word}@", str(meaning))
    return config


def _user() -> str:
    """Root's workers would drop to an account that can't read our directory: say they don't."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return ""
    import grp  # does not exist on Windows

    return f"user root {grp.getgrgid(0).gr_name};"


def _version(program: str) -> str:
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return told.strip().removeprefix("nginx version: ").replace("/", " ")
