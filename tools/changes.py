"""What changed between two releases, for people: the data of `extract`, side by side."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mtpfix.engines.vllm.policy import families, policy

Json = Any
Facts = Mapping[str, Mapping[str, str]]
"""Subject (a class, or the draft) -> what is said about it -> how it is."""

LONGEST = 16
"""Lines of a matcher's difference that are shown."""
_ABOUT_DRAFT = "draft"


def report(old: Json, new: Json) -> str:
    """The differences between two extracts, grouped by draft, each with its policy file."""
    lines = [f"vLLM {old['release']} -> {new['release']}", ""]
    same: list[str] = []
    for arch in sorted(old["drafts"].keys() | new["drafts"].keys()):
        found = list(_draft(arch, old, new))
        title = f"{arch}: {', '.join(policies(arch, new) or policies(arch, old)) or NO_POLICY}"
        lines += [title, *(f"  {line}" for line in found), ""] if found else []
        same += [] if found else [arch]
    lines += ["Unchanged: " + (", ".join(same) or "none"), ""]
    sections = {
        "What becomes of a target": _table(_becomes(old), _becomes(new)),
        "Targets with a policy": _table(_targets(old), _targets(new)),
        "Matchers (these concern every family)": _matchers(old["matchers"], new["matchers"]),
    }
    for title, rows in sections.items():
        lines += [title, *(f"  {line}" for line in rows or ["no change"]), ""]
    return "\n".join(lines)


NO_POLICY = "no policy yet"


def policies(arch: str, data: Json) -> list[str]:
    """The policy files that speak of a draft architecture."""
    return [f"mtpfix/engines/vllm/families/{name}/policy.json" for name in families_of(arch, data)]


def families_of(arch: str, data: Json) -> list[str]:
    """The families whose targets may become a draft architecture."""
    found = []
    for name in families():
        head = policy(name)
        rows = (data["becomes"].get(key) for key in (*head.architectures, *head.model_types))
        if any(arch in row["drafts"] for row in rows if row):
            found.append(name)
    return found


def _draft(arch: str, old: Json, new: Json) -> Iterator[str]:
    """What changed in one draft, platforms with the same changes together."""
    before, after = (data["drafts"].get(arch) for data in (old, new))
    if before is None or after is None:
        rows, word = (after, "+ new") if before is None else (before, "- gone")
        targets = [
            name
            for name, row in (new if after else old)["becomes"].items()
            if arch in row["drafts"]
        ]
        classes = ", ".join(sorted({row["class"] for row in rows or ()})) or "of no platform"
        yield f"{word}: {classes}; made of {', '.join(targets) or 'nothing by name'}"
        return
    platforms = sorted(_on(before).keys() | _on(after).keys())
    said: dict[str, list[str]] = {}
    for platform in platforms:
        facts = (
            _facts(_on(row).get(platform), data) for row, data in ((before, old), (after, new))
        )
        for line in _compared(*facts):
            said.setdefault(line, []).append(platform)
    for line, where in said.items():
        yield line if where == platforms else f"[{', '.join(where)}] {line}"


def _on(rows: Iterable[Json]) -> dict[str, Json]:
    return {platform: row for row in rows for platform in row["platforms"]}


def _facts(row: Json | None, data: Json) -> Facts:
    if row is None:
        return {_ABOUT_DRAFT: {}}
    own = {"class": row["class"].partition(":")[2], "supports_quant": str(row["supports_quant"])}
    own |= {key: _short(row[key]) for key in ("packed", "mapper")}
    facts: dict[str, dict[str, str]] = {_ABOUT_DRAFT: own}
    for key in row["classes"]:
        said = _about(data["classes"][key])
        if key == row["class"]:  # said of the draft already
            said = {name: value for name, value in said.items() if name not in own}
        facts.setdefault(key.partition(":")[2], {}).update(said)
    return facts


def _about(cls: Json) -> dict[str, str]:
    """What is said about one class."""
    said = {f"test `{test}`": "" for test in cls["tests"]}
    said |= {f"`{text}`": "" for text in cls["assigns"]}
    said |= {f"{name}()": row["hash"] for name, row in cls["helpers"].items()}
    said |= {key: _short(cls[key]) for key in ("packed", "mapper") if key in cls}
    for row in cls["builds"]:
        key = row["attribute"]
        while key in said:
            key += "'"
        said[key] = built(row)
    return said


def built(row: Json) -> str:
    """One construction, on one line."""
    how = row.get("quant_source") or row["quant_config"]
    prefix = "" if row["prefix"] is None else f"prefix={row['prefix']}, "
    when = f" if {' and '.join(row['when'])}" if row.get("when") else ""
    return f"{row['class']}({prefix}quant_config {how}){when}"


def _compared(old: Facts, new: Facts) -> Iterator[str]:
    for subject in sorted(old.keys() | new.keys()):
        before, after = old.get(subject), new.get(subject)
        if before is None or after is None:
            rows, sign = (after, "+") if before is None else (before, "-")
            if rows:
                yield f"{sign} {subject}: {'; '.join(_named(rows))}"
        else:
            yield from (f"{line[:2]}{subject}: {line[2:]}" for line in _table(before, after))


def _named(rows: Mapping[str, str]) -> Iterator[str]:
    return (f"{key} = {value}" if value else key for key, value in rows.items())


def _table(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The differences between two tables."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before is None:
            lines.append(f"+ {next(_named({key: after or ''}))}")
        elif after is None:
            lines.append(f"- {next(_named({key: before}))}")
        elif before != after:
            lines.append(f"~ {key}: {before} -> {after}")
    return lines


def _becomes(data: Json) -> dict[str, str]:
    return {
        f"{row['by']} {name}": f"{' or '.join(row['drafts'])}, layers: {' or '.join(row['count'])}"
        for name, row in data["becomes"].items()
    }


def _targets(data: Json) -> dict[str, str]:
    known = {arch: name for name in families() for arch in policy(name).architectures}
    return {
        f"{arch} ({known[arch]}) {key}": _short(row[key])
        for arch, row in data["targets"].items()
        if arch in known
        for key in ("packed", "mapper", "added", "supports_quant")
    }


def _matchers(old: Json, new: Json) -> list[str]:
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before is None or after is None:
            row, sign = (after, "+") if before is None else (before, "-")
            lines.append(f"{sign} {key} ({row['where']})")
        elif before["hash"] != after["hash"]:
            lines += [f"~ {key} ({after['where']})", *_difference(before, after)]
    return lines


def _difference(before: Json, after: Json) -> Iterator[str]:
    old, new = (row["source"].splitlines() for row in (before, after))
    found = list(difflib.unified_diff(old, new, n=1, lineterm=""))[2:]
    yield from (f"    {line}" for line in found[:LONGEST])
    if len(found) > LONGEST:
        yield f"    and {len(found) - LONGEST} more lines"


def _short(value: Json) -> str:
    return json.dumps(value, sort_keys=True)
