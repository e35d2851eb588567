"""Random questions for SGLang's matchers: names, entries as people and tools write them, mappings.

The questions are the same for all releases, and for every run with the same seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")
SEED = 20261129
EACH = 400
"""Questions of each kind."""
Question = list[Any]

PACKED: Sequence[Mapping[str, list[str]]] = (
    {},
    {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]},
    {"fused_qkv_a_proj_with_mqa": ["q_a_proj", "kv_a_proj_with_mqa"]},
    {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "in_proj_qkvz": ["in_proj_qkv", "in_proj_z"],
        "wqkv_a": ["wq_a", "wkv"],
    },
    {"proj": ["left_proj", "right_proj"], "gate_up_proj": ["w1", "w3"]},
)
_ROOTS = (
    "model.decoder",
    "model.layers.0",
    "model.layers.4",
    "model.layers.43",
    "model.layers.61",
    "mtp.layers.0",
    "model.mtp_block",
    ".model.decoder",
    "language_model.model.layers.1",
    "model.language_model.layers.1",
    "",
)
_PATHS = (
    "self_attn.qkv_proj",
    "self_attn.o_proj",
    "self_attn.fused_qkv_a_proj_with_mqa",
    "self_attn.q_b_proj",
    "self_attn.kv_b_proj",
    "mlp.gate_up_proj",
    "mlp.down_proj",
    "mlp.experts",
    "mlp.shared_experts.gate_up_proj",
    "linear_attn.in_proj_qkvz",
    "attn.proj",
    "attn.wqkv_a",
    "mixer.experts",
    "gate_up_proj.0",
    "eh_proj",
)
_ALONE = (
    "lm_head",
    "model.shared_head.head",
    "eh_proj",
    "",
    "model.e_proj",
    "language_model.lm_head",
)
_SHARDS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "q_a_proj", "kv_a_proj_with_mqa")
_SHARDS_OF: Mapping[str, Sequence[str]] = {
    fused: shards for packed in PACKED for fused, shards in packed.items()
}
_WRAPPERS = ("model.", "language_model.model.", "model.language_model.")
_CLASSES = ("QKVParallelLinear", "MergedColumnParallelLinear", "ReplicatedLinear", "FusedMoE")
_ALGORITHMS = ("FP8", "NVFP4", "MXFP8")
_MAPPER = {"model.layers.61": "model.decoder"}


class Grammar:
    """Makes questions.

    Args:
        seed: of the random numbers.
    """

    def __init__(self, seed: int = SEED) -> None:
        self._random = random.Random(seed)  # noqa: S311 - not for secrets

    def questions(self) -> dict[str, list[Question]]:
        """Return the questions by kind."""
        makers: Mapping[str, Callable[[], Question]] = {
            "ct_ignore": lambda: self._listed(self._marked),
            "ct_target": self._target,
            "fp8": self._fp8,
            "modelopt": lambda: [*self._listed(self._glob), self._likely(0.3)],
            "mixed": self._mixed,
            "awq": lambda: self._listed(self._part)[:2],
            "gptq": self._gptq,
            "quark": lambda: self._listed(self._marked),
            "quark_layer": self._quark_layer,
            "auto_round": self._auto_round,
        }
        return {kind: [make() for _ in range(EACH)] for kind, make in makers.items()}

    # --- questions ---------------------------------------------------------------

    def _listed(self, make: Callable[[str], str]) -> Question:
        name, packed = self._name(), self._packed()
        return [name, self._entries(name, make), packed]

    def _fp8(self) -> Question:
        return [*self._listed(self._path), _MAPPER if self._likely(0.4) else {}]

    def _target(self) -> Question:
        name, packed = self._name(), self._packed()
        targets = self._entries(name, self._marked) + self._some(
            ("Linear", "linear", "FusedMoE", "Parallel", "re:.*Linear", "")
        )
        self._random.shuffle(targets)
        return [name, self._pick(_CLASSES), list(dict.fromkeys(targets)), packed]

    def _mixed(self) -> Question:
        name = self._name()
        keys = [self._wrapped(self._near(name)) for _ in range(self._random.randint(1, 5))]
        keys += [f"{name}.0.gate_proj"] if self._likely(0.2) else []
        return [name, {key: self._pick(_ALGORITHMS) for key in keys}, self._packed()]

    def _gptq(self) -> Question:
        name = self._name()
        entries = self._entries(name, self._pattern)
        rules = {self._pick(("-:", "-:", "+:", "")) + e: self._value() for e in entries}
        return [name, rules]

    def _quark_layer(self) -> Question:
        name = self._name()
        keys = [self._wildcard(self._near(name)) for _ in range(self._random.randint(0, 4))]
        if name.endswith("experts") and self._likely(0.6):
            numbers = self._pick(((0, 1), (0,), (0, 2), (1,)))
            layers = self._pick((("gate_proj", "up_proj"), ("up_proj",)))
            keys += [f"{name}.{n}.{layer}" for n in numbers for layer in layers]
        values = {key: {"n": self._pick(("one", "other"))} for key in keys}
        return [name, values, self._packed()]

    def _auto_round(self) -> Question:
        name = self._name()
        keys = [self._pick((self._near(name), self._pattern(name))) for _ in range(3)]
        keys += [f"{name}.{n}.up_proj" for n in range(2)] if self._likely(0.3) else []
        kind = "experts" if name.endswith("experts") else "linear"
        blocks = (
            [self._pick(("model.layers", "model.decoder", "mtp"))] if self._likely(0.3) else None
        )
        extra = {key: {"bits": self._pick((4, 8, 16))} for key in keys}
        kind = self._pick((kind, kind, kind, "lm_head"))
        return [
            name,
            kind,
            {"extra": extra if self._likely(0.9) else {}, "blocks": blocks},
            self._packed(),
        ]

    # --- entries -----------------------------------------------------------------

    def _entries(self, name: str, make: Callable[[str], str]) -> list[str]:
        number = self._random.randint(0, 5)
        found = [make(self._pick((name, name, self._name()))) for _ in range(number)]
        if self._likely(0.25):  # all shards, spelled out
            shards = _SHARDS_OF.get(name.rpartition(".")[2], _SHARDS)
            found += [self._of_shard(name, shard) for shard in self._some(shards, len(shards))]
        return found

    def _marked(self, name: str) -> str:
        near = self._near(name)
        return self._pick((near, near, near.upper(), f"re:{self._pattern(name)}", f"re:{near}"))

    def _path(self, name: str) -> str:
        near = self._near(name)
        return self._pick(
            (near, near, f"{near}.", near.removeprefix("model."), f"{near}.0.up_proj", "model", "")
        )

    def _glob(self, name: str) -> str:
        near = self._near(name)
        last = name.rpartition(".")[2]
        common = [near, near, f"{near}*", f"{near}.*", f"*{last}", f"*.{last}", f"{last[:3]}*"]
        odd = [f"language_model.{near}", "mtp*", "()", f"{near}?", "self_attn.*", f"[{near}]"]
        return self._pick([*common, *odd, last, "", "(" if self._likely(0.2) else "x"])

    def _part(self, name: str) -> str:
        near = self._near(name)
        return self._pick((near, near[1:-1] or "x", "mtp", "proj", "experts", near.upper()))

    def _pattern(self, name: str) -> str:
        near, last = self._near(name), name.rpartition(".")[2]
        escaped = re.escape(near)
        common = [f"^{escaped}$", rf"^{escaped}\..*", f".*{last}$", f".*{re.escape(last)}", near]
        odd = [r".*\.(q|k|gate|w1)(_proj)?$", r".*mtp.*", r"(?!model).*", r".*self_attn.*", ""]
        return self._pick([*common, *odd, last, "(" if self._likely(0.2) else "x"])

    def _wildcard(self, name: str) -> str:
        last = name.rpartition(".")[2]
        return self._pick((name, f"{name}*", f"*{last}", "*.mlp.*", f"{name[:-1]}?", "[abc]*"))

    def _near(self, name: str) -> str:
        """Return the name, what is above it, a shard of it, or the end of it."""
        parts = name.split(".")
        shards = _SHARDS_OF.get(parts[-1], _SHARDS)
        shard = self._of_shard(name, self._pick(shards))
        above = ".".join(parts[: self._random.randint(1, len(parts))])
        end = ".".join(parts[self._random.randint(0, len(parts) - 1) :])
        return self._pick((name, name, above, end, shard, shard, f"{name}.0.gate_proj"))

    def _wrapped(self, name: str) -> str:
        """Return the name, sometimes with the prefix of another wrapper."""
        old = next((w for w in reversed(_WRAPPERS) if name.startswith(w)), None)
        if old is None or self._likely(0.5):
            return name
        return self._pick(_WRAPPERS) + name.removeprefix(old)

    def _of_shard(self, name: str, shard: str) -> str:
        root, dot, _ = name.rpartition(".")
        return f"{root}{dot}{shard}"

    # --- parts -------------------------------------------------------------------

    def _name(self) -> str:
        if self._likely(0.1):
            return self._pick(_ALONE)
        root, path = self._pick(_ROOTS), self._pick(_PATHS)
        return f"{root}.{path}" if root else path

    def _packed(self) -> dict[str, list[str]]:
        return dict(self._pick(PACKED))

    def _value(self) -> Any:
        return self._pick(({}, {"bits": 8}, {"bits": 4}, False))

    def _some(self, values: Sequence[str], number: int = 2) -> list[str]:
        return self._random.sample(values, self._random.randint(0, number))

    def _pick(self, values: Sequence[_T]) -> _T:
        return self._random.choice(values)

    def _likely(self, chance: float) -> bool:
        return self._random.random() < chance
