"""The examples do what they say.

Each example is run as a reader would run it, with warnings as errors, and its key lines are looked
for. The ones that need rich, httpx or httpx2 are skipped where that is not installed: they come
with the extra ``examples``.
"""

from __future__ import annotations

import importlib.util
import re
from functools import partial
from pathlib import Path

import pytest
from pages.python import run_python as run_python_in
from servers import Nginx

ROOT = Path(__file__).parent.parent
run_python = partial(run_python_in, cwd=ROOT)

# What has to be in the output, as regular expressions, in this order.
EXPECTED = {
    "quickstart": [
        r"answered with 200 +300\n",
        r"allowed at once +10\n",
        r"busy 0, waiting 0, idle \d+\n",
        r"open 0\n",
    ],
    "socket_factory": [
        r"IP_TOS is 0xb8",
        r"a public host: what the shop sells\n",
        r"a literal address: ConnectError: .*10\.0\.0\.5:80: not a public address: 10\.0\.0\.5",
        r"the same, as IPv6: ConnectError",
        r"the same, as a number: InvalidURL",
        r"a name for an internal address: ConnectError",
        r"one internal, one public: what the shop sells\n",
        r"a redirect to an internal name: ConnectError: .*169\.254\.169\.254",
        r"rebinding, before: what the shop sells\n",
        r"rebinding, after: ConnectError",
        r"saw a packet of ours: 93\.184\.215\.14\n",
    ],
    "proxies": [
        r"one origin: 200, through the red proxy\n",
        r"another origin: 200, through the red proxy, on a connection of before\n",
        r"tunnel=True: 200, in a tunnel of the red proxy\n",
        r"DIRECT: 200, directly\n",
        r"the pool has none: 200, directly\n",
        r"red: 200, through the red proxy\n",
        r"blue, no credentials: 407, through the blue proxy\n",
        r"blue, with credentials: 200, through the blue proxy\n",
        r"one origin: 200, through the red proxy\n",
        r"the one in no_proxy: 200, directly\n",
        r"proxy 1: ProxyError, status code None\n",
        r"proxy 2: ProxyError, status code 407\n",
        r"the third one: 200, through the red proxy\n",
    ],
    "sessions": [
        r"GET /v1/orders\?page=2 for Bearer ada\n",
        r"GET /v1/orders\?page=2 for Bearer grace\n",
        r"connections opened: 1\n",
        r"GET /v1/account for sid=42\n",
        r"GET /v1/account for nobody\n",
        r"busy twice: 200 after 3 s\n",
        r"busy for longer: 503 after 3 s\n",
        r"the server says when: 200 after 5 s\n",
        r"a POST, which could buy twice: 503 after 0 s\n",
        r"2 s left: 503 after 1 s\n",
        r"orders/7: 200\n",
        r"%2e%2e/admin: InvalidURL\n",
    ],
    "deadlines": [
        r"move_on_after\(0\.5\): cancelled = True\n",
        r"fail_after\(0\.5\): TooSlowError\n",
        r"ConnectTimeout after 2 s, in phase 'connect'\n",
        r"WriteTimeout after 3 s, in phase 'write'\n",
        r"ReadTimeout after 4 s, in phase 'read'\n",
        r"PoolTimeout after 1 s, in phase 'pool'\n",
        r"caller 1: gave up after 200 ms",
        r"caller 2: answered after 120 ms",
        r"caller 3: answered after 20 ms",
        r"while it holds the only slot: busy 1, waiting 1, dialling 0\n",
        r"the very moment it is cancelled: busy 0, waiting 0, dialling 1\n",
        r"when both are done: busy 0, waiting 0, dialling 0\n",
    ],
    "fan_out": [r"black hole +0 +200 ", r"at most 30 at once; in the end busy 0, waiting 0\n"],
    "progress": [
        r"upload here .* 33\.6/33\.6 MB ",
        r"download back .* 33\.6/33\.6 MB ",
        r"33554432 bytes, the same as before: True\n",
        r"memory at its peak: \d\.\d MiB",  # a single digit: it was not kept as a whole
    ],
    "streams": [
        r"line: 12:00:01 started\n",
        r"line 2 is not JSON, and line 3 is {'id': 3}\n",
        r"event 1: a\nevent 2: b\nconnected again\nevent 3: c\n",
        r"pages: 1 2 3\n",
        r"saved: 300000 bytes, the same as there: True, in 3 requests\n",
        r"busy 0\n",
    ],
    "watch_statistics": [
        r"8 of 8 connections open",
        r"When nobody asks any more:\n",
        r"all │ +0 │ +8 │ +0 │ +0 │",
    ],
    "logging_events": [
        r"triopool: dialling http://127\.0\.0\.1:\d+\n",
        r"triopool: connection 1 to .* is reused\n",
        r"request \d+ waited \d+ ms for a connection\n",
        r"connections closed: \{'discarded': \d\}\n",
    ],
    "metrics": [
        r"the server is in our trace: True\n",
        r"GET /\?q=trio&sig=REDACTED: 200, UNSET\n",
        r"GET /lost: 404, ERROR\n",
        r"http\.client\.request\.duration: 2 series\n",
        r'triopool_connections\{pool="",state="idle"\} 1\.0\n',
        r'triopool_reused_total\{pool=""\} 1\.0\n',
    ],
    "websocket": [
        r"busy: 1 of 1\n",
        r"heard \['ONE', 'THREE', 'TWO'\], a pong after less than a second: True\n",
        r"cancelled while it listened: True",
        r"too much: the WebSocket ended with code 1009: a message of more than 100000 bytes\n",
        r"busy: 0 of 1\n",
    ],
    "testing_your_code": [
        r"passed: test_broken_shops_are_left_out\n",
        r"passed: test_a_shop_that_hangs_costs_our_patience_and_no_more\n",
        r"passed: whatever_happens_the_pool_stays_whole\n",
        r"cancelled at each of \d\d+ moments\n",
    ],
    "httpx_drop_in": [
        r"login: \[303\], then 200\n",
        r"/home says 'welcome', cookies \{'session': '42'\}\n",
        r"items: 200 answers, 1890 bytes\n",
        r"large: 4194304 bytes, in pieces\n",
        r"timeout: ReadTimeout, caused by triopool's ReadTimeout\n",
        r"deadline: cancelled = True\n",
        r"pool: 205 requests, 1\d connections opened\n",
        r"busy 0, waiting 0, idle \d+\n",
        r"left: 0 open\n",
    ],
    "shared_pool": [
        r"100 pages of our own, 100 temperatures by the SDK\n",
        r"never more than 4 connections open, of 4\n",
        r"three more requests: 0 connections opened\n",
        r"after the SDK: 200, on a connection of before: True\n",
    ],
    "httpx2_websocket": [
        r"heard 'HELLO'\n",
        r"heard b'\\x03\\x02\\x01'\n",
        r"heard 10000 characters\n",
        r"a request beside it: hello\n",
        r"open: 1 of 2 connections busy, 0 waiting\n",
        r"cancelled while it listened: True\n",
        r"heard 'STILL THERE\?'\n",
        r"the server left: 1000, 'good-bye'\n",
        r"closed: 0 of 2 connections busy, 0 waiting\n",
        r"refused: 403\n",
        r"cancelled: 0 of 2 connections busy, 0 waiting\n",
    ],
}
NEEDS = {
    "metrics": "opentelemetry.sdk",
    "progress": "rich",
    "sessions": "publicsuffixlist",
    "watch_statistics": "rich",
    "httpx_drop_in": "httpx",
    "shared_pool": "httpx",
    "httpx2_websocket": "httpx2.websockets",
}


def skip_without(module: str) -> None:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package that it is in
        found = None
    if found is None:
        pytest.skip(f"needs {module}, which is not installed")


def test_every_example_is_run() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("[!_]*.py")}
    assert names == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
async def test_example_prints_what_it_shows(name: str) -> None:
    if name in NEEDS:
        skip_without(NEEDS[name])
    status, output = await run_python(f"examples/{name}.py")
    assert status == 0, output
    rest = output
    for pattern in EXPECTED[name]:
        found = re.search(pattern, rest)
        assert found, f"no {pattern!r}, or not in its place, in:\n{output}"
        rest = rest[found.end() :]


async def test_quickstart_accounts_for_every_request() -> None:
    status, output = await run_python("examples/quickstart.py")
    assert status == 0, output
    cancelled = [int(count) for count in re.findall(r"cancelled .*? (\d+)\n", output)]
    assert len(cancelled) == 2
    assert sum(cancelled) == 100


async def test_fan_out_asks_the_urls_on_the_command_line(server: str) -> None:
    urls = [f"{server}/one", f"{server}/two"]
    status, output = await run_python(
        "examples/fan_out.py", *urls, "--requests", "50", "--connections", "4", "--deadline", "60"
    )
    assert status == 0, output
    assert len(re.findall(r"^http://\S+ +50 +0 ", output, re.MULTILINE)) == 2
    assert re.search(r"^[1-4] connections opened, at most 4 at once", output, re.MULTILINE)


async def test_fan_out_asks_nginx(nginx: Nginx) -> None:
    urls = [nginx.url("/2000"), nginx.url("/2000", server="three")]
    status, output = await run_python(
        "examples/fan_out.py", *urls, "--requests", "300", "--deadline", "60"
    )
    assert status == 0, output
    # The second one cuts each connection after three requests; nobody notices.
    assert len(re.findall(r"^http://\S+ +300 +0 ", output, re.MULTILINE)) == 2
    assert "in the end busy 0, waiting 0" in output


async def test_fan_out_tells_why_requests_failed() -> None:
    status, output = await run_python("examples/fan_out.py", "http://127.1/", "--requests", "3")
    assert status == 0, output
    assert re.search(r"3 x the host of the URL to http://127\.1 looks like a number", output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["example.org"], "'example.org' is not an http or https URL"),
        (["http://example.org:port/"], "'http://example.org:port/' is not an http or https URL"),
        (["ftp://example.org/"], "'ftp://example.org/' is not an http or https URL"),
        (["http://"], "'http://' is not an http or https URL"),
        (["--requests", "0"], "--requests: '0' is not a whole number of at least 1"),
        (["--requests", "many"], "--requests: 'many' is not a whole number of at least 1"),
        (["--deadline", "-1"], "--deadline: '-1' is not a positive number of seconds"),
        (["--deadline", "nan"], "--deadline: 'nan' is not a positive number of seconds"),
        (["--connections", "2"], "--connections must be at least the number of hosts, 3"),
        (["--verbose"], "unrecognized arguments: --verbose"),
    ],
)
async def test_fan_out_says_what_is_wrong_with_its_arguments(
    arguments: list[str], message: str
) -> None:
    status, output = await run_python("examples/fan_out.py", *arguments)
    assert status == 2
    assert message in output
    assert "Traceback" not in output
