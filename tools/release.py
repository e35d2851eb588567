"""Checks that a tag may be released, and prints what is new in it.

python -m tools.release v0.2.0 mtpfix/mtpfix
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mtpfix import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
_HEAD = re.compile(r"^## (\S+) - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


def faults(tag: str, repository: str, root: Path = ROOT) -> Iterator[str]:
    """Yield why a tag must not be released.

    Args:
        tag: what is to be released.
        repository: `owner/name` on GitHub of where that runs.
        root: the project.
    """
    if tag != f"v{__version__}":
        yield f"the tag is {tag}, and mtpfix is {__version__}"
    cited = re.search(r"^version: (\S+)$", _text(root / "CITATION.cff"), re.MULTILINE)
    if cited is None or cited[1] != __version__:
        yield f"CITATION.cff does not name {__version__}"
    if "\n## Unreleased\n" in _text(root / "CHANGELOG.md"):
        yield "CHANGELOG.md has changes that belong to no version"
    if not notes(__version__, root):
        yield f"CHANGELOG.md does not begin with {__version__} and its date"
    project = tomllib.loads(_text(root / "pyproject.toml"))["project"]
    owner, _, name = repository.partition("/")
    homes = (f"https://github.com/{repository}/", f"https://{owner}.github.io/{name}/")
    if not all(f"{url}/".startswith(homes) for url in project["urls"].values()):
        yield f"the URLs in pyproject.toml are not those of {repository}"


def notes(version: str, root: Path = ROOT) -> str:
    """Return what the changelog says of a version; empty: it is not the newest one there."""
    text = _text(root / "CHANGELOG.md")
    heads = [*_HEAD.finditer(text)]
    if not heads or heads[0][1] != version:
        return ""
    return text[heads[0].end() : heads[1].start() if len(heads) > 1 else None].strip()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tag")
    parser.add_argument("repository")
    given = parser.parse_args()
    found = [*faults(given.tag, given.repository)]
    if found:
        raise SystemExit("\n".join(found))
    print(notes(__version__))


if __name__ == "__main__":
    main()
