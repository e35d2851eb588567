"""What the sources of a release say about drafts, read without importing them.

    python -m tools.extract 0.33.0 --home DIR                  the data, as JSON
    python -m tools.extract --diff 0.32.0 0.33.0 --home DIR    what changed, for people
    python -m tools.extract --check --home DIR                 policies against all sources
    python -m tools.extract 0.33.0 --draft ARCH --home DIR     a first policy, to be proved

This is a second witness beside the recordings: it sees every architecture, also those that
no policy speaks of, but it only reads. A home is what `tools.environments` fills.
"""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path
from typing import Any

from mtpfix.engines.vllm.policy import PLATFORMS, covered_releases
from tools.environments import HOME, Home
from tools.reading import attributes, constructions, rewrites
from tools.reading.matchers import matchers
from tools.reading.sources import Defined, Sources

Json = Any

SCHEMA = "mtpfix.extract/1"
REGISTRY = "vllm.model_executor.models.registry"
MODELS = "vllm.model_executor.models"


class MissingError(Exception):
    """A home does not hold the sources of a release."""


def sources(release: str, home: Path = HOME) -> Sources:
    """The sources of a release in a home.

    Raises:
        MissingError: the release was not made there.
    """
    root = Home(home).sources(release)
    if root is None:
        raise MissingError(f"no sources of {release}; run: python -m tools.environments {release}")
    return Sources(root)


def registry(read: Sources) -> dict[str, tuple[str, str]]:
    """Module and class of every architecture that the release knows."""
    tree = read.tree(REGISTRY)
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree or ast.Module([], [])):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
                    parts = [e.value for e in value.elts if isinstance(e, ast.Constant)]
                    if len(parts) == len(value.elts) == 2:  # noqa: PLR2004 - module and class
                        found[str(key.value)] = (str(parts[0]), str(parts[1]))
    return dict(sorted(found.items()))


def drafted(known: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """The architectures of MTP drafts among those of a registry."""
    return {arch: row for arch, row in known.items() if "MTP" in row[1]}


def locate(read: Sources, row: tuple[str, str]) -> Defined | None:
    """The class that a row of the registry names."""
    module = row[0] if row[0].startswith("vllm.") else f"{MODELS}.{row[0]}"
    found = read.find(module, row[1])
    return found if found is not None and isinstance(found.node, ast.ClassDef) else None


def family(read: Sources, cls: Defined) -> list[Defined]:
    """A draft class and every class that is built or inherited below it, nearest first."""
    found = {cls.id: cls}
    wanted = [cls]
    while wanted:
        for inner in constructions.blocks(read, wanted.pop(0)):
            if inner.id not in found:
                found[inner.id] = inner
                wanted.append(inner)
    return list(found.values())


def extract(release: str, read: Sources) -> dict[str, Json]:
    """Everything that the tool reads in a release, as JSON.

    `architectures` and `targets` are rows of the registry, `becomes` says which draft a target
    gets, `drafts` which classes each platform builds, `classes` what they build.
    """
    known = registry(read)
    mtp = drafted(known)
    classes: dict[str, Json] = {}
    drafts = {arch: _platforms(read, row, classes) for arch, row in mtp.items()}
    return {
        "schema": SCHEMA,
        "engine": "vllm",
        "release": release,
        "architectures": {arch: {"module": m, "class": c} for arch, (m, c) in mtp.items()},
        "becomes": becomes(read, known),
        "targets": _targets(read, known, classes),
        "drafts": drafts,
        "classes": dict(sorted(classes.items())),
        "matchers": matchers(read),
    }


def becomes(read: Sources, known: dict[str, tuple[str, str]]) -> dict[str, Json]:
    """For each model type and architecture that the release rewrites: draft and layer count."""
    function = rewrites.override(read)
    found: dict[str, Json] = {}
    for name in rewrites.named(function) if function else ():
        kind = "architecture" if name in known or name[0].isupper() else "model_type"
        rows = rewrites.drafts(function, drafted(known), **{kind: name})  # type: ignore[arg-type]
        if rows:
            found[name] = {
                "by": kind,
                "drafts": sorted({row.architecture for row in rows}),
                "count": sorted({row.layers for row in rows}),
                "fields": sorted({field for row in rows for field in row.fields}),
            }
    return found


def _platforms(read: Sources, row: tuple[str, str], classes: dict[str, Json]) -> list[Json]:
    """What a draft is on each platform: equal platforms share a row."""
    rows: list[Json] = []
    for platform in PLATFORMS:
        here = read.on(platform)
        cls = locate(here, row)
        if cls is None:
            continue
        made = family(here, cls)
        for each in made:
            if each.id not in classes:  # the first platform that has it sees what others see
                classes[each.id] = constructions.read_class(here, each)
        ids = [each.id for each in made]
        same = next((r for r in rows if r["classes"] == ids), None)
        if same is None:
            rows.append({"platforms": [platform], **_mappings(here, cls), "classes": ids})
        else:
            same["platforms"].append(platform)
    return rows


def _mappings(read: Sources, cls: Defined) -> dict[str, Json]:
    """What a class brings to the quantization config, its bases' share included."""
    return {
        "class": cls.id,
        "packed": attributes.inherited(read, cls, "packed"),
        "mapper": attributes.inherited(read, cls, "mapper"),
        "supports_quant": any(base.name == "SupportsQuant" for base in read.bases(cls)),
    }


def _targets(
    read: Sources, known: dict[str, tuple[str, str]], classes: dict[str, Json]
) -> dict[str, Json]:
    """The architectures whose classes stand in the files that drafts are made of."""
    files = {key.partition(":")[0] for key in classes}
    found: dict[str, Json] = {}
    for arch, row in known.items():
        cls = None if "MTP" in row[1] else locate(read, row)
        if cls is not None and cls.module in files:
            added: dict[str, list[str]] = {}
            for base in read.bases(cls):
                added |= attributes.additions(base.node)
            found[arch] = {**_mappings(read, cls), "added": added}
    return found


def main() -> None:
    """Entry point."""
    options = _arguments()
    try:
        print(_answer(options), end="")
    except MissingError as error:
        raise SystemExit(str(error)) from error


def _answer(options: argparse.Namespace) -> str:
    from tools import changes, drafting, second  # noqa: PLC0415 - they read what this makes

    if options.check:
        found = second.report(options.releases or covered_releases(), options.home)
        if found:
            raise SystemExit("\n".join(found))
        return ""
    if options.diff:
        old, new = (extract(release, sources(release, options.home)) for release in options.diff)
        return changes.report(old, new)
    if not options.releases:
        raise SystemExit("name a release, or --diff OLD NEW, or --check")
    release = options.releases[0]
    read = sources(release, options.home)
    data = drafting.draft(release, read, options.draft) if options.draft else extract(release, read)
    return json.dumps(data, indent=1) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("releases", nargs="*", metavar="RELEASE")
    parser.add_argument("--home", type=Path, default=HOME, help="see environments.py")
    parser.add_argument("--diff", nargs=2, metavar=("OLD", "NEW"))
    parser.add_argument("--check", action="store_true", help="policies against the sources")
    parser.add_argument("--draft", metavar="ARCH", help="a draft architecture without a policy")
    return parser.parse_args()


if __name__ == "__main__":
    main()
