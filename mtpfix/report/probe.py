"""What the draft of a running server did, as text and as JSON."""

from __future__ import annotations

from json import dumps

from rich.text import Text

from mtpfix import __version__
from mtpfix.probing import Probe, view
from mtpfix.report import wording
from mtpfix.report.inert_text import ASCII
from mtpfix.report.page import Page, mooded

SCHEMA = "mtpfix.probe/1"
_BAR = 20
"""Characters of a bar for all tokens."""
_LABEL = 14


def text(found: Probe, width: int, *, color: bool, ascii: bool) -> str:  # noqa: A002
    """What the draft did, by position, and what to look at."""
    page = Page(width, color=color)
    since = "since the server started" if found.since_start else "between the readings"
    engine = wording.engine(found.engine)
    if found.drafts is not None:
        drafted = wording.count(found.drafted or 0, "token")
        said = f"{drafted} in {wording.count(found.drafts, 'draft')}, {since}"
        page.item(mooded(f"{'proposed':{_LABEL}}", "quiet"), Text(said))
    if found.acceptance is not None:
        page.item(mooded(f"{'accepted':{_LABEL}}", "quiet"), Text(f"{found.acceptance:.1%}"))
    for place, share in enumerate(found.by_position, 1):
        bar = ("#" if ascii else "█") * round(min(share, 1.0) * _BAR)
        line = f"{share:6.1%}  {bar}"
        page.item(mooded(f"{f'  position {place}':{_LABEL}}", "quiet"), Text(line.rstrip()))
    if found.length is not None:
        said = f"{found.length:.2f} tokens a step, with the target model's own"
        page.item(mooded(f"{'mean length':{_LABEL}}", "quiet"), Text(said))
    page.line()
    sign, mood, verdict = _verdict(found, engine)
    page.item(mooded(f"{sign} ", mood), mooded(verdict, "strong"))
    if found.state == "useless":
        check = f"mtpfix check MODEL --{found.engine} RELEASE"
        said = f"Next: {check}, with the release that serves; if that is clean, add --values"
        page.item(Text("  "), Text(said))
    shown = page.text()
    return shown.translate(ASCII) if ascii else shown


def _verdict(found: Probe, engine: str) -> tuple[str, str, str]:
    if found.state == "idle":
        return "?", "unsure", f"{engine} has drafted nothing yet: send requests, and probe again."
    least = f"{found.least:.0%} is demanded"
    if found.state == "useless" and found.acceptance:
        share = f"{found.acceptance:.1%} of its tokens are accepted, and {least}"
        return "✗", "bad", f"This draft does too little on {engine}: {share}."
    if found.state == "useless":
        return "✗", "bad", f"This draft is not doing anything on {engine}: {least}."
    return "✓", "good", f"The draft works on {engine}: {least}."


def json(found: Probe) -> str:
    """Return a document of schema `mtpfix.probe/1`."""
    head = {"schema": SCHEMA, "tool": {"name": "mtpfix", "version": __version__}}
    return f"{dumps({**head, **view(found)}, indent=2)}\n"
