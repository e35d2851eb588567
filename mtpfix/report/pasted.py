"""Exclusions as a quantizer takes them: what pastes into its recipe, call or command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from json import dumps
from shlex import quote
from textwrap import fill

from mtpfix.errors import UsageError
from mtpfix.model import Json
from mtpfix.quant.tools import Tool
from mtpfix.recipe import Names
from mtpfix.report import names as renderer
from mtpfix.report.inert_text import inert, inert_json

DEFAULT = "text"
"""What people read: the first form of a tool."""
WIDTH = 88
"""Letters of a line of a comment."""


def pasted(found: Names, tool: Tool, form: str = DEFAULT) -> str:
    """Return what pastes into a tool, below comments on where it belongs and what remains to do.

    JSON, which knows no comments, has none: `about` says what belongs into them.

    Args:
        found: entries for the method that the tool writes.
        tool: the tool.
        form: `python`, `yaml`, `json` or `cli`; `text` is the first that the tool has.

    Raises:
        UsageError: the tool has no such form.
    """
    form = next(iter(tool.forms)) if form == DEFAULT else form
    around = tool.forms.get(form)
    if around is None:
        raise UsageError(
            f"{tool.title} takes no exclusions as {form}",
            f"choose one of: {', '.join(tool.forms)}",
        )
    value = tool.exclusions(found.entries)
    if form == "json":
        return f"{inert_json(dumps(_nested(around, value), indent=2))}\n"
    comments = "".join(
        f"{fill(line, WIDTH, initial_indent='# ', subsequent_indent='#   ')}\n"
        for line in about(found, tool, form)
    )
    if form == "yaml":
        return comments + "".join(f"{line}\n" for line in _yaml(_nested(around, value)))
    text = _python(value) if form == "python" else quote(inert_json(dumps(value)))
    return f"{comments}{str(around).replace('{value}', text)}\n"


def about(found: Names, tool: Tool, form: str) -> Iterator[str]:
    """Return what must be known besides: where it belongs, where it fails, what remains.

    Args:
        found: the entries.
        tool: the tool that takes them.
        form: the form in which it does.
    """
    if form == "python":
        yield tool.where
    if reason := renderer.why_empty(found):
        yield reason
    elif found.unserved:
        yield renderer.not_right(found)
    after = f" ({tool.evidence.partition(' ')[2]})"
    yield from (f"{line}{after}" for line in tool.after)


def _nested(around: str | list[str], value: Json) -> Json:
    for key in reversed(around):
        value = {key: value}
    return value


def _python(value: Json, depth: int = 0) -> str:
    """Return a value as Python has it, an item a line at the top."""
    if isinstance(value, str):
        text = inert(value)
        return f'r"{text}"' if "\\" in text and '"' not in text else dumps(text)
    if isinstance(value, Mapping):
        items = [f"{_python(key, 1)}: {_python(each, depth + 1)}" for key, each in value.items()]
        return _bracketed("{", items, "}", depth)
    if isinstance(value, list):
        return _bracketed("[", [_python(each, depth + 1) for each in value], "]", depth)
    return repr(value)


def _bracketed(first: str, items: list[str], last: str, depth: int) -> str:
    if depth or not items:
        return f"{first}{', '.join(items)}{last}"
    return "\n".join([first, *(f"    {item}," for item in items), last])


def _yaml(value: Json, indent: str = "") -> Iterator[str]:
    """Return the lines of nested mappings, and of lists of texts or flat mappings."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(each, Mapping | list) and each:
                yield f"{indent}{key}:"
                yield from _yaml(each, f"{indent}  ")
            else:
                yield f"{indent}{key}: {_scalar(each)}"
    elif isinstance(value, list):
        for each in value:
            lines = list(_yaml(each)) if isinstance(each, Mapping) else [_scalar(each)]
            yield f"{indent}- {lines[0]}"
            yield from (f"{indent}  {line}" for line in lines[1:])


def _scalar(value: Json) -> str:
    if isinstance(value, str):
        return "'" + inert(value).replace("'", "''") + "'"
    return dumps(value)
