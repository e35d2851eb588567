"""Copies the facts about engines out of a checkout, into a folder that `MTPFIX_FACTS` can name.

    python -m tools.facts OUT

Needs a Python without any package. The folder holds what `mtpfix/facts.py` calls facts, in the same
places; a file `__init__.py` makes it a package too, for who wants to publish it as one. Prints the
digest that reports will show.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from mtpfix import facts

PACKAGE = Path(facts.__file__).parent


def copy(out: Path) -> str:
    """Copy all facts into a new folder; return their digest.

    Raises:
        FileExistsError: the folder is there.
    """
    out.mkdir(parents=True)
    for name in facts.names(PACKAGE):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, out / name)
    (out / "__init__.py").write_text('"""Facts for mtpfix."""\n', encoding="utf-8")
    return facts.digest(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="the folder to make")
    print(copy(parser.parse_args().out))
