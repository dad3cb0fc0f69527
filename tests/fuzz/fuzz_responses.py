"""Look for longer, led by coverage: ``python tests/fuzz/fuzz_responses.py -max_total_time=600``.

Needs atheris (``pip install -e ".[fuzz]"``); the arguments are libFuzzer's. See README.md.

With ``--proxies`` as its first argument a proxy says what it likes, and not a server.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))

# What is imported first is what is watched. trio is not: its turns depend on chance.
with atheris.instrument_imports(include=["triopool", "h11"], enable_loader_override=False):
    import h11  # noqa: F401

    import triopool  # noqa: F401

from fuzz import proxies, proxy_answers, target
from fuzz import responses as r
from fuzz.target import ENDS, KINDS, WHENS, Case

PROXIES = sys.argv[1:2] == ["--proxies"]
HERE = Path(__file__).parent.parent.parent / "build" / ("fuzz-proxies" if PROXIES else "fuzz")
"""Where is kept what was learnt, for the next run, and what was found. Git ignores it."""

DEFAULTS = ["-max_len=8192", "-timeout=60", "-rss_limit_mb=1024", f"-artifact_prefix={HERE}/"]


def one(data: bytes) -> None:
    case = proxies.ProxyCase.from_bytes(data) if PROXIES else Case.from_bytes(data)
    try:
        if isinstance(case, Case):
            target.play(case)
        else:
            proxies.play(case)
    except BaseException:
        traceback.print_exc()
        print(f"A finding: {case!r}", flush=True)
        raise


def seeds() -> Sequence[Case | proxies.ProxyCase]:
    """What the search begins with."""
    return proxy_answers.seeds() if PROXIES else responses()


def responses() -> list[Case]:
    """One case at least for each thing that the server may send, the client ask, or be told."""
    raws = [*r.LEGAL, *r.STRAY, r.SWITCHING]
    raws += [line + b"\r\nContent-Length: 0\r\n\r\n" for line in r.STATUS_LINES]
    raws += [b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % field for field in r.FIELDS]
    raws += [informational + raw for informational in r.INFORMATIONAL for raw in r.LEGAL[:2]]
    encoded = {name: encode(b"hello " * 9) for name, encode in r.ENCODERS.items()} | r.BOMBS
    for encoding, body in encoded.items():
        fields = b"Content-Encoding: %b\r\nContent-Length: %d" % (encoding, len(body))
        raws.append(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (fields, body))
    cases = [Case(raw) for raw in raws]
    for line in r.REDIRECTING:
        for location in r.LOCATIONS:
            raw = line + b"\r\nContent-Length: 2\r\nLocation: " + location + b"\r\n\r\nok"
            cases.append(Case(raw, follow=True))
    for number, kind in enumerate(KINDS):
        cases += [
            Case(raw, kind, how, when, (9,), 0, end, reused=bool(number % 2), deaf=end == "reset")
            for raw in (r.LEGAL[0], r.SWITCHING + b"early")
            for how in ("stream", "lease")
            for when in WHENS
            for end in ENDS
        ]
    return cases + [dataclasses.replace(case, leave=4) for case in cases[:40]]


def words() -> list[bytes]:
    if PROXIES:
        return proxy_answers.words()
    pieces = [*r.WORDS, *r.STATUS_LINES, *r.REDIRECTING, *r.LOCATIONS, *r.FIELDS, *r.INFORMATIONAL]
    pieces += [b"Location: ", b"Content-Encoding: ", *r.ENCODERS]
    return [piece for piece in pieces if 0 < len(piece) < 64]


def write_seeds() -> list[str]:
    """What the search begins with; return the arguments for it."""
    corpus, dictionary = HERE / "corpus", HERE / "words"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(case.to_bytes())
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words())
    dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
    return [f"-dict={dictionary}", str(corpus)]


def main() -> None:
    given = sys.argv[2:] if PROXIES else sys.argv[1:]
    is_to_play_again = any(Path(argument).is_file() for argument in given)
    search = [] if is_to_play_again else write_seeds()
    atheris.Setup([sys.argv[0], *DEFAULTS, *given, *search], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
