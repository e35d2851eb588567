"""Reports whose every foreign word wants to be more than a word."""

from __future__ import annotations

from dataclasses import replace

from mtpfix.model import Acceptance, Accepted, Entry, Finding, Fix, Report, Target, Where

from . import examples

WORDS = (
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "a\n::error::owned",
    "a\r\n##[add-mask]x",
    "::set-output name=x::y",
    "%0A::warning::x",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title></style></script><!--",
    "]]><evil/>",
    "&lt;b&gt;&#x202e;",
    "a|b|c",
    "`code`",
    "a`b``c",
    "**bold** _it_ ~~no~~ # head",
    "[link](http://evil.example)",
    "![image](//evil.example/x.png)",
    "http://evil.example www.evil.example",
    "@everyone #1 GH-1 me@evil.example",
    "\"quoted\" 'and' \\back",
    "{0} {{x}} ${{ secrets.TOKEN }} $(id) `id`",
    "lone\ud800 \x00 \ufffe",
    "",
)


def report(word: str) -> Report:
    """A broken checkpoint in which everything is called `word`."""
    entry = Entry(word, word or "config.json", "/x/0")
    module = examples.judged(
        examples.module(word, members=(word,)),
        quantized=True,
        because=entry,
        agrees=False,
        consequence="silent_garbage",
    )
    finding = Finding(
        code="MTP201",
        severity="error",
        confidence="run",
        message=f"module `{word}`: {word}",
        modules=(word,),
        where=Where(word or "config.json", "/x/0", 7),
        repair=Fix(f"add `{word}`", "safe"),
        releases=("0.32.0",),
    )
    made = examples.report(
        examples.engine((module,), outcome="load_error", error=f"KeyError: {word}"),
        findings=(finding, replace(finding, where=None, code="MTP101", severity="warning")),
        accepted=(Accepted(finding, Acceptance("ignore", f"because {word}", word, word)),),
        exit_code=1,
        notes=(f"about {word}",),
        quant_files=(f"{word}#/x",),
        method=word,
    )
    return replace(made, target=Target("local", word or "."))
