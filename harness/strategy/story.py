"""What a script says of itself in its docstrings: the bundled ones as a user's own."""

from __future__ import annotations

import inspect
import sys


def story_of(definition: type) -> list[str]:
    """The paragraphs of the script's docstring; of the class's, where the script has none. Empty without either."""
    module = sys.modules.get(definition.__module__)
    text = (module and module.__doc__) or definition.__doc__ or ""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()]
