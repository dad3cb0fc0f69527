"""Public classes name the module that users import them from, and not the file that they stand in.

So tracebacks, ``repr``s and pickles say ``triopool.ReadTimeout``, and a file can move. Trio does
the same.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import Any, get_type_hints


def name_classes(public: dict[str, Any], home: str, room: str | None = None) -> None:
    """Let the classes among *public*, the names of the module *home*, say that they are of it.

    Args:
      room: where they stand; None for the private modules of *home* itself.
    """
    where = f"{home}._" if room is None else f"{room}."
    private = [
        value
        for value in public.values()
        if isinstance(value, type) and value.__module__.startswith(where)
    ]
    for value in private:
        # The annotations of a class are text, and get_type_hints() reads them in the module that
        # the class names. From now on it would do so in *home*, where most names are not known. So
        # we replace the text by what it means, before any class has its new name.
        meanings = get_type_hints(value)
        own = inspect.get_annotations(value)
        value.__annotations__ = {name: meanings[name] for name in own}
    for value in private:
        value.__module__ = home
        # Python 3.13 would show what stands here in that line, if asked for the class's source.
        with contextlib.suppress(AttributeError):
            del value.__firstlineno__  # type: ignore[attr-defined]
