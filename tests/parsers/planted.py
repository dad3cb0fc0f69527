"""Do the tests of the parsers find bugs? Plant some, one at a time, and see.

``python tests/parsers/planted.py`` replaces a line or two in a copy of the package, runs the tests
of this folder on it, and prints which one failed first. It fails if a bug is not found, and also if
the code has moved on, so that the lines to be replaced are not there, or not just once. With
arguments, plants only the bugs whose names contain one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from planting import Bug, main

FILE = "_protocol/httptools_parser.py"

BUGS = [
    # ── Requests ───────────────────────────────────────────────────────────────────────────────
    Bug("an empty piece ends a chunked body", FILE, 'b"\\r\\n"] if size else []', 'b"\\r\\n"]'),
    Bug(
        "the last chunk is forgotten",
        FILE,
        'return [*framed, b"0\\r\\n\\r\\n"] if last else framed',
        "return framed",
    ),
    Bug("the size of a chunk is decimal", FILE, 'b"%x\\r\\n" % size', 'b"%d\\r\\n" % size'),
    Bug("a body may be longer than was said", FILE, "if size > self._to_send:", "if False:"),
    Bug("a body may be shorter than was said", FILE, "if last and self._to_send:", "if False:"),
    Bug("what has been sent of a body is not counted", FILE, "self._to_send -= size", "pass"),
    Bug(
        "an empty body is not checked against its length",
        FILE,
        "(not body and not self._to_send and self._to_send is not None)",
        "not body",
    ),
    Bug(
        "a request without a body is told of none in chunks",
        FILE,
        " and self._to_send is not None)",
        ")",
    ),
    Bug(
        "the fields of another head are written with its target",
        FILE,
        "if type(fields.kept) is not bytes:\n        fields.kept = write_fields(fields)",
        "if type(fields.kept) is not bytes:\n        fields.kept = write_fields(fields)[:-2]",
    ),
    Bug(
        "Host is not the first field",
        "_protocol/request_head.py",
        'key=lambda line: line[0].lower() != b"host"',
        "key=lambda line: 0",
    ),
    Bug(
        "a head that is kept is that of another target",
        FILE,
        "(head.method, head.target, fields.kept)",
        '(head.method, b"/", fields.kept)',
    ),
    Bug(
        "a request's coding goes as it was written",
        "_protocol/request_head.py",
        'if lower_name == b"transfer-encoding":',
        "if False:",
    ),
    # ── Heads ──────────────────────────────────────────────────────────────────────────────────
    Bug("llhttp is not asked", FILE, "if not (self._is_doubtful or _is_legal(head)):", "if False:"),
    Bug(
        "llhttp's refusal is no refusal",
        FILE,
        "        return False\n    return True",
        "        pass\n    return True",
    ),
    Bug(
        "llhttp is asked about what is doubtful",
        FILE,
        "self._is_doubtful or _is_legal(head)",
        "_is_legal(head)",
    ),
    Bug("llhttp sees a 101 as what it is", FILE, 'if head.startswith(b"101", 9):', "if False:"),
    Bug("doubts are kept to itself", FILE, "        self._doubt(why)\n", ""),
    Bug(
        "a length is shown as often as it is told",
        FILE,
        "partial(fields_to_show, head)",
        "partial(split_fields, head)",
        (
            FILE,
            "fields_to_show, has_no_body, not_legal",
            "fields_to_show, has_no_body, not_legal, split_fields",
        ),
    ),
    Bug(
        "a coding is shown as it was sent",
        "_protocol/heads.py",
        "            value = value.lower()\n",
        "            pass\n",
    ),
    Bug(
        "only the last of several lengths is shown",
        "_protocol/heads.py",
        '            value = value.partition(b",")[0].rstrip(b" \\t")\n',
        '            value = value.rpartition(b",")[2].rstrip(b" \\t") + b" "\n',
    ),
    Bug("the reason begins with its blank", FILE, "head[13 : head.index", "head[12 : head.index"),
    Bug("every version is 1.1", FILE, "            head[5:8],\n", '            b"1.1",\n'),
    Bug("a 1xx has a length", FILE, "told.length if is_final else None", "told.length"),
    # ── Bodies ─────────────────────────────────────────────────────────────────────────────────
    Bug(
        "a body goes on where the next response begins",
        FILE,
        "None if length is None else length - self.body_bytes",
        "None",
    ),
    Bug("a body is cut by what has come of it", FILE, "length - self.body_bytes)", "length)"),
    Bug(
        "a body that ends with the connection does not end",
        FILE,
        "(length is None and self._at_eof)",
        "False",
    ),
    Bug(
        "a body that was cut is whole",
        FILE,
        "self.body_bytes == length or (length is None and self._at_eof)",
        "self.body_bytes == length or self._at_eof",
    ),
    Bug(
        "a chunked body that was cut goes on for ever",
        FILE,
        '        self._check_not_cut()\n        return b""\n\n    def _check',
        '        return b""\n\n    def _check',
    ),
    Bug(
        "a head that was cut goes on for ever",
        FILE,
        "        if not head:\n            self._check_not_cut()\n",
        "        if not head:\n",
    ),
    Bug(
        "the chunks are not counted",
        FILE,
        "(data := scanner.take_chunks()):\n            self.body_bytes += len(data)\n",
        "(data := scanner.take_chunks()):\n",
    ),
    Bug("trailers are forgotten", FILE, 'if trailers != b"\\r\\n":', "if False:"),
    Bug(
        "the first trailer is lost",
        FILE,
        'fields_to_show(b"\\r\\n" + trailers)',
        "fields_to_show(trailers)",
    ),
    Bug(
        "trailers are shown behind the next response, too",
        FILE,
        "        self.trailers = NO_FIELDS\n        self.body_bytes = 0\n        self.may",
        "        self.body_bytes = 0\n        self.may",
    ),
    Bug(
        "the next body is over before it begins",
        FILE,
        "        self._method = head.method\n        self._ended = False\n",
        "        self._method = head.method\n",
    ),
    Bug(
        "the next body counts on",
        FILE,
        "        self.body_bytes = 0\n        self.may_switch = head",
        "        self.may_switch = head",
    ),
    # ── The connection ─────────────────────────────────────────────────────────────────────────
    Bug("a 3xx to CONNECT is a tunnel", FILE, "200 <= status < 300", "200 <= status < 400"),
    Bug("101 is no switch", FILE, "status == 101 or", "False or"),
    Bug("CONNECT is no switch", FILE, 'self._method == b"CONNECT" and', "False and"),
    Bug(
        "what comes behind a switch is lost",
        FILE,
        "        return self.scanner.rest\n",
        '        return b""\n',
    ),
    Bug(
        "a request that asks for the close does not get it",
        FILE,
        "self._closes = fields.ask_to_close",
        "self._closes = False",
    ),
    Bug(
        "a close that is asked for stays for the next request",
        FILE,
        "if self._closes or not",
        "if not",
    ),
    Bug(
        "a body until the end leaves the connection open",
        FILE,
        "return (told.chunked or told.length is not None) and not self._closes",
        "return not self._closes",
    ),
    Bug(
        "a 304 without a length ends the connection",
        FILE,
        "(ends_by_itself or has_no_body(told.status, self._method))",
        "ends_by_itself",
    ),
    Bug(
        "bytes behind a response are not looked for",
        FILE,
        "Spent.EARLY_BYTES if self.scanner.has_rest else None",
        "None",
    ),
    Bug("draining is worth it though we asked for the close", FILE, "and not self._closes\n", "\n"),
    # ── The choice ─────────────────────────────────────────────────────────────────────────────
    Bug(
        "httptools is taken though h11 was asked for",
        "_protocol/parsers.py",
        '    if option == "h11":\n        return H11\n',
        "",
    ),
    Bug(
        "httptools has to be installed",
        "_protocol/parsers.py",
        '        if option == "auto":\n            return H11\n',
        "",
    ),
    Bug(
        "connections don't say what reads on them",
        "_dial/dialler.py",
        "                http_parser=self._parser.name,\n",
        "",
    ),
    Bug(
        "a pool does not say what it reads with",
        "_pool.py",
        "replace(self._slots.statistics(), http_parser=self._parser.name)",
        "replace(self._slots.statistics())",
    ),
]

TESTS = [f"tests/parsers/test_{name}.py" for name in ("requests", "choice", "alike")]
"""What is quick: not all that is split at each point."""

if __name__ == "__main__":
    sys.exit(main(BUGS, TESTS, sys.argv[1:]))
