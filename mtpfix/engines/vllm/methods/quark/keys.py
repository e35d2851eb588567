"""The keys of quark's `layer_quant_config`, of which the first that fits a name decides. Pure.

There can be one for every layer of a model, and every layer asks: so neither plain keys nor those
with wildcards are tried one by one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate

_BETWEEN = "\n"
"""What stands between keys; no name has it."""


class Keys:
    """Keys in the order of the file.

    Args:
        texts: the keys, as the mappers left them.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._plain = [number for number, text in enumerate(texts) if "*" not in text]
        plain = [texts[number] for number in self._plain]
        self._joined = _BETWEEN.join(plain)
        self._starts = list(accumulate((len(text) + 1 for text in plain), initial=0))
        self._globs: dict[str, list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            if "*" in text:
                self._globs[re.split(r"[*?\[]", text, maxsplit=1)[0]].append(number)

    def first(self, name: str) -> int | None:
        """Return the number of the first key that fits a name."""
        return min((*self._containing(name), *self._matching(name)), default=None)

    def _containing(self, name: str) -> Iterator[int]:
        """Yield the first key without `*` that contains the name: vLLM asks the wrong way round."""
        at = self._joined.find(name) if self._plain else -1
        if at >= 0:
            yield self._plain[bisect_right(self._starts, at) - 1]

    def _matching(self, name: str) -> Iterator[int]:
        """Yield, for each beginning of the name, the first key with `*` that has it and fits."""
        for end in range(len(name) + 1):
            fits = (n for n in self._globs.get(name[:end], ()) if fnmatchcase(name, self._texts[n]))
            first = next(fits, None)
            if first is not None:
                yield first
