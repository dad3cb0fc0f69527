"""The charset of a text: what Content-Type names, as far as Python has it for text.

The value is the server's, so it may be hostile. The search takes linear time over a bounded prefix,
and a name that Python does not know never reaches ``codecs.lookup()``, which would remember it for
as long as the process runs.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases
from functools import cache

PREFIX = 1000
"""How many characters of a Content-Type are looked at. Real ones have fewer than a hundred."""

# RFC 9110 sections 5.6.6 and 8.3.1: parameters behind semicolons; a value may be in quotes, and
# there may be anything in these. Every repetition is possessive, so nothing is tried twice.
_CHARSET = re.compile(
    r"""
    (?: [^;"] | "(?:[^"\\]|\\.)*+"? )*+                 # the type, or a parameter
    (?: ;[ \t]*+ (?!charset[ \t]*+=)
        (?: [^;"] | "(?:[^"\\]|\\.)*+"? )*+ )*+         # other parameters
    ;[ \t]*+ charset[ \t]*+= [ \t]*+ "?+ ([A-Za-z0-9.:_+()-]++)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)

# Python has these without an alias. It has others as well, which are not for text ("idna", "hex").
_WITHOUT_ALIAS = (
    "cp1006 cp720 cp737 cp856 cp874 cp875 iso8859_1 koi8_t koi8_u mac_arabic mac_croatian "
    "mac_farsi mac_romanian palmos utf_8_sig"
)
# Not for text; and "mbcs", which means what the machine that runs us is set to.
_NOT_FOR_TEXT = frozenset(
    {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec"}
    | {"zlib_codec"}
)


def charset_of(content_type: str, default: str = "utf-8") -> str:
    """The charset that a Content-Type names, in lower case; *default* if Python has none such."""
    match = _CHARSET.match(content_type[:PREFIX])
    if match is None:
        return default
    charset = match[1].lower()
    return charset if re.sub(r"[^a-z0-9.]+", "_", charset) in _known() else default


@cache
def _known() -> frozenset[str]:
    """The names of Python's encodings for text, as it compares them."""
    for_text = {name: to for name, to in aliases.items() if to not in _NOT_FOR_TEXT}
    # Python looks names up in lower case, so it finds no others.
    names = (name for name in for_text if name == name.lower())
    return frozenset({*names, *for_text.values(), *_WITHOUT_ALIAS.split()})
