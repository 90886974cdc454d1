# ruff: noqa: INP001 - Sphinx reads this file; nothing imports it
"""How the documentation is built: ``sphinx-build -W --keep-going -n -b html docs FOLDER``.

The pages are Markdown that GitHub shows as well. Nothing is fetched while it is built: a build that fails because
another project's server is down would tell nothing about these pages.
"""

import re
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

project = "asgi-envelope"
author = "the authors of asgi-envelope"
release = version = installed_version(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_copyright = False

# [text](page.md#heading): the anchors are those that GitHub gives to headings, and each is checked.
myst_heading_anchors = 4
# <img width=...> in the pages: GitHub knows no other way to give a width.
myst_enable_extensions = ["html_image"]
# A command that spans lines in a console's session has no colours: Pygments does not understand it.
suppress_warnings = ["misc.highlighting_failure"]
# "--" in the convention's texts is what goes over the wire, not a dash.
smartquotes = False

# A prompt and what a command prints are not copied.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Named, where written out they would hide what is meant.
autodoc_type_aliases = {
    "ASGIApp": "~starlette.types.ASGIApp",
    "Scope": "~starlette.types.Scope",
    "Limit": "~envelope.rate_limit.plans.Limit",
    "Key": "~envelope.rate_limit.plans.Key",
    "Cost": "~envelope.rate_limit.plans.Cost",
}
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
# Attributes are described where they are listed; as directives they would be told twice beside their properties.
napoleon_use_ivar = True

nitpick_ignore_regex = [
    # Other projects' objects: their inventories are not fetched.
    (r"py:.*", r"(asyncio|collections|contextlib|datetime|logging|types|typing|weakref)\..*"),
    (r"py:.*", r"(starlette|fastapi|pydantic|httpx|httpx2|requests|anyio)\..*"),
    (r"py:.*", r"MeterProvider"),  # OpenTelemetry's; imported for type checkers only
    # What a decorator is given, it gives back: a variable of types has no page.
    (r"py:.*", r"envelope\..*\.(T|Endpoint|Response)"),
]


def setup(app: Sphinx) -> None:
    """Connect what Sphinx does not do by itself."""
    app.connect("source-read", link_to_repository)
    app.connect("autodoc-process-signature", tidy_signature)
    app.connect("html-page-context", finish_page)


def link_to_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Offer Markdown files outside of ``docs/`` as downloads, as MyST does with all other files by itself."""
    folder = (app.srcdir / page).parent

    def offer(link: re.Match[str]) -> str:
        is_page = (folder / link[1]).resolve().is_relative_to(app.srcdir)
        return link[0] if is_page else f"](path:{link[1]})"

    source[0] = re.sub(r"\]\((\.\./[^)#:]+\.md)\)", offer, source[0])


def finish_page(app: Sphinx, *event: Any) -> None:
    """Change what a page looks like where Markdown cannot say it."""
    context = event[2]
    if body := context.get("body"):
        context["body"] = break_long_words(name_downloads(app, link_names(body)))


def link_names(body: str) -> str:
    """Lead a name to its own docstring, where the page has it: GitHub knows only the section."""

    def link_name(link: re.Match[str]) -> str:
        target = f"envelope.{link[2]}"
        return f'href="#{target}"{link[1]}{link[2]}<' if f'id="{target}"' in body else link[0]

    return re.sub(r'href="#[\w-]+"(>(?:<[^>]+>)+)(\w+)<', link_name, body)


def name_downloads(app: Sphinx, body: str) -> str:
    """Save files with the names of their folders: there are many that are called README.md and storage.py."""
    for source, (_, target) in app.env.dlfiles.items():
        name = "-".join(part for part in Path(source).parts if part != "..")
        body = re.sub(
            rf'download=""(?= href="[./]*_downloads/{re.escape(str(target))}")', f'download="{name}"', body
        )
    return body


def break_long_words(body: str) -> str:
    """Let long words in tables break behind a dot, a slash and the like: Furo cuts a table that is too wide."""

    def in_word(word: re.Match[str]) -> str:
        return re.sub(r"([./:_(=]+)(?=[\w&\[])", r"\1<wbr>", word[0])

    def in_cell(cell: re.Match[str]) -> str:
        return re.sub(r">[^<]+", lambda text: re.sub(r"\S{20,}", in_word, text[0]), cell[0])

    return re.sub(r"(?s)<td.*?</td>", in_cell, body)


def tidy_signature(*event: Any) -> tuple[str | None, str | None]:
    """Leave out what begins with an underscore, which is no part of the interface, and name the aliases."""
    signature, returns = event[-2:]
    if signature:
        signature = re.sub(r", _\w+: [^=,]+ = [^,)]+", "", signature)
        # What Sphinx makes of an alias in a union.
        signature = re.sub(r"TypeAliasForwardRef\('([^']+)'\)", r"\1", signature)
    return signature, returns
