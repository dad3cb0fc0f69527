"""Which parsers of HTTP/1.1 there are, and which one a pool takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, get_args

from .._config import described
from .h11_parser import H11Parser
from .heads import Doubt
from .parser import Parser

ParserName: TypeAlias = Literal["h11", "httptools"]
ParserOption: TypeAlias = Literal["auto", "h11", "httptools"]


class ParserKind(NamedTuple):
    """One kind of parser.

    Attributes:
      name: of the library.
      make: a new one, for one connection.
    """

    name: ParserName
    make: Callable[[Doubt], Parser]


H11 = ParserKind("h11", H11Parser)


def choose_parser(option: ParserOption) -> ParserKind:
    """The parser that was asked for; for ``"auto"`` httptools if it is installed, and else h11.

    Raises:
      ValueError: there is none of that name.
      ImportError: httptools was asked for by name, and is not installed.
    """
    if option not in get_args(ParserOption):
        raise ValueError(
            f"http_parser must be 'auto', 'h11' or 'httptools', not {described(option)}"
        )
    if option == "h11":
        return H11
    try:
        from .httptools_parser import HttptoolsParser
    except ImportError as exc:
        if option == "auto":
            return H11
        raise ImportError(
            "http_parser='httptools' needs httptools: pip install 'triopool[fast]'"
        ) from exc
    return ParserKind("httptools", HttptoolsParser)
