"""What a script says of itself in its docstrings: the bundled ones as a user's own."""

from __future__ import annotations

import inspect
import sys


def story_of(definition: type) -> list[str]:
    """The paragraphs of the script's docstring; of the class's, where that has several or the script has none.

    Empty without either. Of two classes in one script one may have a story of its own.
    """
    module = sys.modules.get(definition.__module__)
    own = vars(definition).get("__doc__") or ""
    text = own if "\n\n" in own else (module and module.__doc__) or own
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()]
