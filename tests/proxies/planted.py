"""Do the tests of proxies find bugs? Plant some, one at a time, and see.

``python tests/proxies/planted.py`` replaces a line or two in a copy of the package, runs the tests
of this folder on it, and prints which one failed first. It fails if a bug is not found, and also if
the code has moved on, so that the lines to be replaced are not there, or not just once. With
arguments, plants only the bugs whose names contain one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from planting import Bug, main

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
        'if match is None or "@" in url:',
        "if match is None:",
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
        "PoolKey(origin, server_hostname, proxy, ssl_context=ssl_context)",
        "PoolKey(origin, None, proxy, ssl_context=ssl_context)",
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
        "if lower(line[0]) not in names",
        "if line[0] not in names",
    ),
    # ── The choice ─────────────────────────────────────────────────────────────────────────────
    Bug(
        "None is direct",
        "_proxy/choice.py",
        "    if isinstance(value, str):\n",
        "    if value is None:\n        return DIRECT\n    if isinstance(value, str):\n",
    ),
    Bug("a coroutine is never awaited", "_proxy/chooser.py", "answer.close()", "pass"),
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
    # ── A request, and its head ────────────────────────────────────────────────────────────────
    Bug(
        "credentials in the tunnel",
        "_request/request.py",
        "self.key.proxy if self.key.forwarded else None",
        "self.key.proxy",
    ),
    Bug(
        "the proxy's fields are left out of a head that is kept",
        "_request/request.py",
        "more = () if forwarder is None else",
        "more = () if True else",
    ),
    Bug(
        "the proxy's fields are left out of a head that is made anew",
        "_request/request.py",
        "make_head(self.method, target, self._lines(forwarder))",
        "make_head(self.method, target, self._lines(None))",
    ),
    Bug(
        "a head is kept with the fields of a proxy",
        "_request/request.py",
        'make_head("GET", "/", self._lines(None))',
        'make_head("GET", "/", self._lines(forwarder))',
    ),
    Bug(
        "a forwarded head's Host is the proxy's",
        "_request/request.py",
        '"Host": self.url.host_header',
        '"Host": self.key.origin.host',
    ),
    Bug(
        "fields that are sent as they were given go without the proxy's",
        "_request/request.py",
        "return lines if forwarder is None else",
        "return lines if forwarder is None or self.verbatim else",
    ),
    Bug(
        "CONNECT is forwarded",
        "_request/request.py",
        'return self.method == "CONNECT" or upgrade',
        "return upgrade",
    ),
    Bug(
        "a target of the caller's own is sent as it is",
        "_proxy/route.py",
        'return origin + target if target.startswith("/") else target',
        "return target",
    ),
    Bug(
        "a header Proxy-Authorization reaches the origin",
        "_request/prepare.py",
        'if "proxy-authorization" in names:',
        "if False:",
    ),
    Bug(
        "DIRECT is no choice for a request",
        "_request/prepare.py",
        "    if named is not None:\n        return",
        '    if named is not None and proxy_or_none("proxy", named):\n        return',
    ),
    # ── From one request to the next ───────────────────────────────────────────────────────────
    Bug(
        "the chooser's answer is kept for the next request",
        "_request/preparations.py",
        "if self.chooser is not None and not self.chooser.settled:",
        "if False:",
    ),
    Bug(
        "a function of the user's is asked once",
        "_proxy/chooser.py",
        "settled=type(value) is ProxyRules",
        "settled=True",
    ),
    Bug(
        "nothing is kept where there are rules",
        "_proxy/chooser.py",
        "settled=type(value) is ProxyRules",
        "settled=False",
    ),
    Bug(
        "a named proxy is forgotten at a redirect",
        "_client/redirect.py",
        "    if request.chooser is not None:\n"
        '        changes["proxy"] = request.chooser(url.origin)\n',
        '    changes["proxy"] = request.chooser and request.chooser(url.origin)\n',
    ),
    Bug(
        "a named proxy gives way to the pool's at a redirect",
        "_request/prepare.py",
        '{"proxy": proxy_or_none("proxy", named)}',
        '{"proxy": proxy_or_none("proxy", named), "chooser": chooser}',
    ),
    Bug(
        "the chooser is not asked about a redirect",
        "_client/redirect.py",
        "    if request.chooser is not None:\n",
        "    if False:\n",
    ),
    Bug(
        "a redirect to what can't be reached is an error of its own",
        "_client/redirect.py",
        "    except InvalidURL as exc:\n"
        "        raise _refused(request, response, f\"can't be followed",
        "    except KeyError as exc:\n"
        "        raise _refused(request, response, f\"can't be followed",
    ),
    Bug(
        "Proxy-Connection is not heeded",
        "_protocol/heads.py",
        '_PROXY_CONNECTION = b"connection", b"proxy-connection"',
        '_PROXY_CONNECTION = b"connection", b"x-proxy-connection"',
    ),
    # ── Leases and the pool ────────────────────────────────────────────────────────────────────
    Bug(
        "a lease does not look at the way",
        "_client/turns.py",
        "return request.key == leased.key and",
        "return",
    ),
    Bug(
        "a lease on a shared connection is for all origins",
        "_client/turns.py",
        "return request.key == leased.key and request.url.origin == leased.url.origin",
        "return request.key == leased.key",
    ),
    Bug(
        "a leased connection takes a proxy",
        "_client/lease.py",
        'if "proxy" in options:',
        "if False:",
    ),
    Bug(
        "the requests of a lease go through the pool's proxy",
        "_client/lease.py",
        '        options["proxy"] = leased.proxy or DIRECT\n',
        "",
    ),
    Bug(
        "the requests of a lease without a proxy go through the pool's",
        "_client/lease.py",
        "leased.proxy or DIRECT",
        "leased.proxy",
    ),
    Bug(
        "the proxy of a lease is forgotten",
        "_requests.py",
        'proxy=proxy,\n        )\n        request = about_a_connection(self._client, "lease()"',
        'proxy=None,\n        )\n        request = about_a_connection(self._client, "lease()"',
    ),
    Bug(
        "a socket for the origins is one for the proxy",
        "_pool.py",
        "if unix_socket is not None and chooser is not None:",
        "if False:",
    ),
    # ── What is shown ──────────────────────────────────────────────────────────────────────────
    Bug(
        "a key shows the URL of its origin only",
        "_pool_key.py",
        'return name if self.proxy is None else f"{name} through {self.proxy}"',
        "return name",
    ),
    Bug(
        "instruments are not told which proxy",
        "_exchange/sending.py",
        "None if request.proxy is None else request.proxy.url",
        "None",
    ),
    Bug(
        "a connection does not tell its proxy",
        "_dial/dialler.py",
        "None if key.proxy is None else _facts_of_proxy(key.proxy, key, line)",
        "None",
    ),
    Bug(
        "the proxy's TLS is told as the origin's",
        "_dial/dialler.py",
        "_facts(line.tls) if key.has_tls else None",
        "None if line.tls is None else _facts(line.tls)",
    ),
    Bug(
        "the origin's TLS is told as the proxy's",
        "_dial/dialler.py",
        "_facts(line.proxy_tls) if",
        "_facts(line.tls) if",
    ),
    Bug(
        "a message names the origin only",
        "_request/request.py",
        "return self.key.way_to(self.url.origin)",
        "return str(self.url.origin)",
    ),
    Bug(
        "a 407 is told as any status",
        "_client/response.py",
        "if self.status_code != 407 or",
        "if True or",
    ),
    Bug(
        "wrong credentials are told as none",
        "_dial/tunnel.py",
        'if any(name.lower() == b"proxy-authorization"',
        'if False and any(name.lower() == b"proxy-authorization"',
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
        "direct after a failure",
        "_dial/dialler.py",
        "        raise report.error(left_out)\n",
        "        if first is not None:\n"
        "            return await self.dial(PoolKey(key.origin), notes)\n"
        "        raise report.error(left_out)\n",
    ),
    Bug(
        "direct where the proxy's name is not known",
        "_dial/dialler.py",
        "                raise unreached(first, key, exc) from exc\n",
        "                found = await self._names.addresses(key.origin)\n",
    ),
    Bug(
        "the handshake outside of the timeout",
        "_dial/hops.py",
        "            await step.take(line)\n    except",
        '            with __import__("trio").move_on_after(1000, shield=True):\n'
        "                await step.take(line)\n"
        "    except",
    ),
    Bug(
        "each hop has the timeout for itself",
        "_dial/hops.py",
        "            await step.take(line)\n    except",
        '            with __import__("trio").fail_after(10, shield=True):\n'
        "                await step.take(line)\n"
        "    except",
    ),
    Bug(
        "a socket for the origins is one for the proxies",
        "_dial/dialler.py",
        "self._unix_socket if first is None else first.unix_socket",
        "self._unix_socket",
    ),
    Bug(
        "our trust is for the last proxy only",
        "_dial/dialler.py",
        "for proxy in key.proxies):",
        "for proxy in key.proxies[-1:]):",
    ),
    Bug(
        "TLS with an origin to which a proxy forwards",
        "_pool_key.py",
        " and not self.forwarded\n\n",
        "\n\n",
    ),
    Bug(
        "two User-Agents",
        "_protocol/connect.py",
        'if all(name.lower() != b"user-agent" for name, _ in fields):',
        "if True:",
    ),
    Bug(
        "the fields of the first proxy for all of them",
        "_dial/hops.py",
        "target.port, proxy.fields)",
        "target.port, [*(proxy.via.fields if proxy.via else ()), *proxy.fields])",
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
        "        if following is None and key.forwarded:\n            break\n",
        "",
    ),
    Bug(
        "names are looked up here that the proxy is to resolve",
        "_proxy/proxy.py",
        'scheme in ("socks5", "socks4")\n',
        'scheme in ("socks5", "socks4", "socks5h")\n',
    ),
    Bug(
        "addresses of a host without bound",
        "_dial/hops.py",
        "can_be_asked_for(version, host)][:MOST_ADDRESSES]\n",
        "can_be_asked_for(version, host)]\n",
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


if __name__ == "__main__":
    sys.exit(main(BUGS, ["-m", "not exhaustive", "tests/proxies"], sys.argv[1:]))
