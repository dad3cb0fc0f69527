"""Do the tests of proxies find bugs? Plant some, one at a time, and see.

``python tests/proxies/planted.py`` replaces a line or two in a copy of the package, runs the tests
of this folder on it, and prints which one failed first. It fails if a bug is not found, and also if
the code has moved on, so that the lines to be replaced are not there, or not just once. With
arguments, plants only the bugs whose names contain one of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 300
"""How long one run may take, in seconds. A planted bug may well make the tests hang."""


class Bug(NamedTuple):
    name: str
    file: str
    old: str
    new: str


BUGS = [
    # ── The proxy ──────────────────────────────────────────────────────────────────────────────
    Bug(
        "the hash of a proxy and its key go without credentials",
        "_proxy/proxy.py",
        "    auth: Auth | None = None\n    headers: t",
        "    auth: Auth | None = field(default=None, compare=False)\n    headers: t",
    ),
    Bug(
        "the TLS context is no part of a proxy",
        "_proxy/proxy.py",
        "    ssl_context: ssl.SSLContext | None = None\n",
        "    ssl_context: ssl.SSLContext | None = field(default=None, compare=False)\n",
    ),
    Bug("the URL shows credentials", "_proxy/proxy.py", '"url": str(origin),', '"url": url,'),
    Bug(
        "an unknown scheme is quoted where it may be a name",
        "_proxy/proxy.py",
        'if match and "@" not in url else',
        "if match else",
    ),
    Bug("paths are let pass", "_proxy/proxy.py", 'parts.path not in ("", "/") or ', ""),
    Bug("empty queries are let pass", "_proxy/proxy.py", '"?" in url', "parts.query"),
    Bug(
        "zones are let pass",
        "_proxy/proxy.py",
        'if "%" in origin.host:\n        raise',
        "if False:\n        raise",
    ),
    Bug(
        "the length of SOCKS credentials is counted in characters",
        "_proxy/proxy.py",
        "max(len(auth.username.encode()), len(auth.password.encode()))",
        "max(len(auth.username), len(auth.password))",
    ),
    Bug(
        "the URL goes before the argument",
        "_proxy/proxy.py",
        "check_auth(auth) or of_the_url",
        "of_the_url or check_auth(auth)",
    ),
    Bug(
        "a chain is told from its end",
        "_proxy/proxy.py",
        "(*(self.via.chain if self.via is not None else ()), self)",
        "(self, *(self.via.chain if self.via is not None else ()))",
    ),
    Bug(
        "a chain is not checked",
        "_proxy/proxy.py",
        "            self.via.check_reaches(origin)\n",
        "",
    ),
    Bug(
        "a hash goes along into other processes",
        "_proxy/proxy.py",
        "    def __reduce__(self)",
        "    def not_reduce(self)",
    ),
    Bug(
        "names are sent where addresses were meant",
        "_proxy/proxy.py",
        '("socks5", "socks4")',
        '("socks4",)',
    ),
    Bug(
        "a framing field of the proxy's",
        "_proxy/proxy.py",
        '"transfer-encoding", "upgrade"',
        '"upgrade"',
    ),
    # ── The way ────────────────────────────────────────────────────────────────────────────────
    Bug("Upgrade is forwarded", "_proxy/proxy.py", " and not may_switch", ""),
    Bug("tunnel=True is forwarded", "_proxy/proxy.py", " and not self.tunnel", ""),
    Bug("https is forwarded", "_proxy/proxy.py", ' and origin.scheme == "http"', ""),
    Bug("SOCKS forwards", "_proxy/proxy.py", "self.speaks_http and origin.scheme", "origin.scheme"),
    Bug(
        "no origin shares",
        "_proxy/route.py",
        "proxy.origin if proxy.share_connections else origin",
        "origin",
    ),
    Bug(
        "all origins share",
        "_proxy/route.py",
        "proxy.origin if proxy.share_connections else origin",
        "proxy.origin",
    ),
    Bug(
        "what can't be reached is tried", "_proxy/route.py", "    proxy.check_reaches(origin)\n", ""
    ),
    Bug(
        "a tunnel loses its server name",
        "_proxy/route.py",
        "PoolKey(origin, server_hostname, proxy)",
        "PoolKey(origin, None, proxy)",
    ),
    Bug(
        "the zone's origin in the absolute form",
        "_proxy/route.py",
        "{url.host_header}",
        "{url.origin.bracketed_host}",
    ),
    Bug("OPTIONS * is sent as it is", "_proxy/route.py", 'target == "*" and', 'target == "" and'),
    Bug(
        "credentials are sent twice",
        "_proxy/route.py",
        "if line[0].lower() not in names",
        "if line[0] not in names",
    ),
    # ── The choice ─────────────────────────────────────────────────────────────────────────────
    Bug(
        "None is direct",
        "_proxy/choice.py",
        "    if isinstance(value, str):\n",
        "    if value is None:\n        return DIRECT\n    if isinstance(value, str):\n",
    ),
    Bug(
        "a coroutine is never awaited", "_proxy/choice.py", "        answer.close()", "        pass"
    ),
    # ── The rules ──────────────────────────────────────────────────────────────────────────────
    Bug("httpoxy", "_proxy/rules.py", 'if "REQUEST_METHOD" in variables:', "if False:"),
    Bug(
        "httpoxy on Windows",
        "_proxy/rules.py",
        "variables = dict(environ)",
        "variables: Any = environ",
    ),
    Bug(
        "upper case before lower",
        "_proxy/rules.py",
        "name if name in variables else name.upper()",
        "name.upper() if name.upper() in variables else name",
    ),
    Bug(
        "an empty one in lower case does not count",
        "_proxy/rules.py",
        "name if name in variables else",
        "name if variables.get(name) else",
    ),
    Bug(
        "all_proxy before the scheme's own",
        "_proxy/rules.py",
        "    spelled, value = _value(variables, name)\n    if not",
        '    spelled, value = _value(variables, "all_proxy")\n    if not',
    ),
    Bug(
        "the value in the message",
        "_proxy/rules.py",
        "can't be used: {exc}",
        "can't be used: {value}: {exc}",
    ),
    Bug(
        "what can't be used is skipped",
        "_proxy/rules.py",
        "        raise InvalidURL(",
        "        return DIRECT\n        raise InvalidURL(",
    ),
    Bug("loopback goes to the proxy", "_proxy/rules.py", "(not loopback and ", "(loopback and "),
    Bug(
        "notlocalhost is this machine",
        "_proxy/rules.py",
        'endswith(".localhost")',
        'endswith("localhost")',
    ),
    Bug(
        "the rule for http is for https",
        "_proxy/rules.py",
        'origin.scheme == "https"',
        "origin.port == 443",
    ),
    Bug(
        "every answer is kept",
        "_proxy/rules.py",
        "functools.lru_cache(MAX_REMEMBERED)",
        "functools.lru_cache(None)",
    ),
    # ── no_proxy ───────────────────────────────────────────────────────────────────────────────
    Bug(
        "a suffix without a dot",
        "_proxy/no_proxy.py",
        '_, _, host = host.partition(".")',
        "host = host[1:]",
    ),
    Bug(
        "names below are not found",
        "_proxy/no_proxy.py",
        "        while host:",
        "        while False:",
    ),
    Bug(
        "*.example.com is example.com, too", "_proxy/no_proxy.py", "if not only_below:", "if True:"
    ),
    Bug(
        "addresses are compared as names",
        "_proxy/no_proxy.py",
        "        if address is not None:\n            return any",
        "        if False:\n            return any",
    ),
    Bug("a port is for all of them", "_proxy/no_proxy.py", "and port in (None, origin.port)", ""),
    Bug(
        "mapped addresses are IPv6",
        "_proxy/no_proxy.py",
        'return getattr(address, "ipv4_mapped", None) or address',
        "return address",
    ),
    Bug("mapped networks are IPv6", "_proxy/no_proxy.py", "if mapped is not None:", "if False:"),
    Bug("host bits are refused", "_proxy/no_proxy.py", "strict=False", "strict=True"),
    Bug(
        "netmasks are networks",
        "_proxy/no_proxy.py",
        '_IPV4 = re.compile(r"([0-9.]+)(/[0-9]{1,3})?")',
        '_IPV4 = re.compile(r"([0-9.]+)(/[0-9.]+)?")',
    ),
    Bug("a name in brackets", "_proxy/no_proxy.py", "elif not is_bracketed:", "else:"),
    Bug(
        "a last dot makes a difference",
        "_proxy/no_proxy.py",
        'host = origin.host.removesuffix(".")',
        "host = origin.host",
    ),
    Bug(
        "a dot in front of an address",
        "_proxy/no_proxy.py",
        'elif not text.startswith(("*.", ".")):',
        "else:",
    ),
    # ── What is shown ──────────────────────────────────────────────────────────────────────────
    Bug(
        "a key shows the URL of its origin only",
        "_pool_key.py",
        'return f"{origin} through {self.proxy}"',
        "return origin",
    ),
    Bug(
        "an error loses the proxy's answer",
        "_errors.py",
        "self.status_code = status_code",
        "self.status_code = None",
    ),
    # ── The hops ───────────────────────────────────────────────────────────────────────────────
    Bug(
        "a wire stays open after a refusal",
        "_dial/hops.py",
        "    except BaseException:\n        line.close()\n",
        "    except BaseException:\n",
    ),
    Bug(
        "a wire stays open when a hop is cancelled",
        "_dial/hops.py",
        "    except BaseException:\n        line.close()\n",
        "    except Exception:\n        line.close()\n",
    ),
    Bug(
        "the pool's context for the proxy",
        "_dial/hops.py",
        "proxy.ssl_context or own_context",
        "proxy.ssl_context or context or own_context",
    ),
    Bug(
        "the proxy's context for the origin",
        "_dial/dialler.py",
        "self._own_trust if ssl_context is None else Trust(ssl_context)",
        "self._own_trust = Trust(ssl_context)",
    ),
    Bug(
        "the origin's name verified in the proxy's certificate",
        "_dial/hops.py",
        "PoolKey(proxy.origin, proxy.server_hostname)",
        "PoolKey(errand.origin, proxy.server_hostname)",
    ),
    Bug(
        "a forwarding proxy is asked for a tunnel",
        "_dial/hops.py",
        "        if not following and route.forwards:\n            break\n",
        "",
    ),
    Bug(
        "names are looked up here that the proxy is to resolve",
        "_dial/hops.py",
        'if proxy.scheme in ("socks5", "socks4"):',
        'if proxy.scheme in ("socks5", "socks4", "socks5h"):',
    ),
    Bug(
        "addresses of a host without bound",
        "_dial/hops.py",
        "    return hosts[:MOST_ADDRESSES]\n",
        "    return hosts\n",
    ),
    Bug(
        "another address of the proxy after its answer",
        "_dial/asking.py",
        "        self._received += len(data)\n        self._line.answered = True\n",
        "        self._received += len(data)\n",
    ),
    Bug(
        "no other address of the proxy before its answer",
        "_dial/dialler.py",
        "                if line.answered:\n",
        "                if route.proxies:\n",
    ),
    Bug(
        "SOCKS read by packet",
        "_dial/asking.py",
        "        data = await self.receive(number)\n        while len(data) < number:\n",
        "        data = await self.receive()\n        while not data:\n",
    ),
    Bug(
        "SOCKS takes what is behind an answer for a part of it",
        "_dial/asking.py",
        "            data += await self.receive(number - len(data))\n",
        "            data += await self.receive()\n",
    ),
    Bug(
        "what is behind an answer to CONNECT is dropped",
        "_dial/tunnel.py",
        "read_too_much=connect.has_rest",
        "read_too_much=False",
    ),
    Bug(
        "what has come behind an answer is not looked for",
        "_dial/asking.py",
        "            raise self._unasked()\n        if came is not None:\n",
        "            pass\n        elif came is not None:\n",
    ),
    Bug(
        "an answer that came before it was asked for is believed",
        "_dial/asking.py",
        '            came = await self._line.what_has_come()\n            if came == b"":',
        '            came = None\n            if came == b"":',
    ),
    Bug(
        "a session ticket is taken for a word of the proxy's",
        "_dial/line.py",
        "return await self.stream.receive_some(1)",
        "return await self.wire.receive_some(1)",
    ),
    Bug("200 only", "_dial/tunnel.py", "answer.status_code >= 300", "answer.status_code != 200"),
    Bug(
        "the framing of a 2xx is heeded",
        "_protocol/connect.py",
        "Scanner(_without_doubt, _status_only)",
        "Scanner(_without_doubt)",
    ),
    Bug(
        "1xx without end",
        "_protocol/connect.py",
        "if self._informational > MAX_INFORMATIONAL:",
        "if False:",
    ),
    Bug(
        "101 is waited behind",
        "_protocol/connect.py",
        "            if status == 101:\n",
        "            if False:\n",
    ),
    Bug(
        "IPv6 without brackets",
        "_protocol/connect.py",
        'f"[{host}]:{port}" if ":" in host else f"{host}:{port}"',
        'f"{host}:{port}"',
    ),
    Bug(
        "what a proxy says goes into messages as it is",
        "_dial/asking.py",
        'c if " " <= c <= "~" else f"\\\\x{ord(c):02x}" for c in cut',
        "c for c in cut",
    ),
    Bug(
        "a name sent for an address",
        "_dial/socks.py",
        "    address = _literal(host)\n    if address is not None:\n        return bytes(",
        "    address = _literal(host)\n    if False:\n        return bytes(",
    ),
    Bug(
        "an address that stands for a name",
        "_dial/socks.py",
        'address.packed.startswith(b"\\0\\0\\0") and',
        "False and",
    ),
    Bug(
        "a user with a NUL in it",
        "_dial/socks.py",
        "    if any(byte < 32 or byte == 127 for byte in data):\n",
        "    if False:\n",
    ),
    Bug(
        "an empty password turns credentials off",
        "_dial/socks.py",
        "    if credentials is not None:\n        user, password = credentials\n",
        "    if credentials is not None and all(credentials):\n"
        "        user, password = credentials\n",
    ),
    Bug(
        "credentials for a proxy that does not ask for them",
        "_dial/socks.py",
        "    if picked == _NO_PASSWORD:\n",
        "    if login:\n        yield login, 2\n    if picked == _NO_PASSWORD:\n",
    ),
    Bug(
        "the version of a login's answer counts",
        "_dial/socks.py",
        "        if answer[1]:\n            raise Failed(",
        '        if answer != b"\\x01\\0":\n            raise Failed(',
    ),
    Bug(
        "a layer that is cancelled in the one below goes on",
        "_transport/tls.py",
        "                self._below.torn = True\n                raise\n",
        "                raise\n",
    ),
    Bug(
        "only the wire knows that it is torn",
        "_transport/tls.py",
        "        return self._below.torn\n",
        "        return False\n",
    ),
]


def plant(bug: Bug | None, copy: Path) -> None:
    """Copy the package and its tests to *copy*, with *bug*."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "triopool", copy / "triopool", ignore=ignored)
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    if bug is not None:
        file = copy / "triopool" / bug.file
        text = file.read_text()
        if (times := text.count(bug.old)) != 1:
            raise LookupError(f"{bug.name}: found {times} times:\n{bug.old}")
        file.write_text(text.replace(bug.old, bug.new))


def first_failure(bug: Bug | None) -> str | None:
    """The name of the first test that fails; None if all pass."""
    with tempfile.TemporaryDirectory(prefix="triopool-") as directory:
        copy = Path(directory)
        plant(bug, copy)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        try:
            run = subprocess.run(
                [*command, "tests/proxies"],
                cwd=copy,
                env={**os.environ, "PYTHONPATH": str(copy)},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return "(the tests do not end)"
    if run.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py\S*)", run.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(run.stdout + run.stderr)
    return found[1]


def main(words: list[str]) -> int:
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    if failure := first_failure(None):
        print(f"without any bug planted, {failure} fails")
        return 1
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for bug, failure in zip(bugs, pool.map(first_failure, bugs), strict=True):
            survivors += failure is None
            print(f"{bug.name:<58} → {failure or 'NOT FOUND'}", flush=True)
    print(f"{len(bugs) - survivors} of {len(bugs)} found")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
