"""Style and drawing that the pages of this package share, and how a template is filled.

`style.css` and `drawing.js` have no marks of templates and no `</`, so they can be inlined into a
page that must be one file, and served as files.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources


def shared(name: str) -> str:
    """The text of `style.css` or `drawing.js`."""
    return resources.files(__name__).joinpath(name).read_text("utf-8")


def filled(template: str, contents: Mapping[str, str]) -> str:
    """Replace each `{{name}}` of a template.

    Args:
        template: of a page.
        contents: by name. What comes from outside must be escaped; marks in it stay as they are.

    Raises:
        KeyError: there is no content of this name.
    """
    first, *parts = template.split("{{")
    done = [first]
    for part in parts:  # one pass, because a value may contain the mark of another field
        key, rest = part.split("}}", 1)
        done += [contents[key], rest]
    return "".join(done)
