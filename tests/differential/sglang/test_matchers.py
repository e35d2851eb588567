"""What SGLang's own functions answered, release by release, mtpfix answers without SGLang.

The answers are recorded by `python -m tools.sglang_differential`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Packed, RaisesError, Setting
from mtpfix.engines.policies.targets import target
from mtpfix.engines.sglang import methods
from mtpfix.engines.sglang.methods.auto_round.layers import Layers as Bits
from mtpfix.engines.sglang.methods.modelopt.mixed import Algorithms
from mtpfix.engines.sglang.methods.quark.layers import Layers
from mtpfix.model import Decision, Entry, Kind, Module, QuantView
from mtpfix.patterns import Entries, PatternError
from mtpfix.quant import Location
from tools.sglang_differential import WITH_TEXTS, answers, read

DATA = read()
RELEASES = [f"0.5.{patch}" for patch in range(13, 24)]
YES, NO = "+", "-"


def context(release: str) -> Context:
    return Context(release, "cuda", {}, depth=3)


def module(name: str, kind: Kind = "linear", cls: str = "QKVParallelLinear") -> Module:
    return Module("draft", name, kind, cls, ())


def view(metadata: Mapping[str, Any]) -> QuantView:
    location = Location("config.json", "/quantization_config", metadata)
    return methods.BY_QUANT_METHOD[metadata["quant_method"]].read(location)


def decided(
    release: str, read_as: QuantView, packed: Packed, name: str, kind: Kind = "linear"
) -> Decision:
    """The decision about a module; an entry that exempts it is one of the metadata."""
    setting = Setting(read_as, context(release), "draft", packed)
    return methods.of(read_as.method).make_decider(setting)(module(name, kind))


def exempt(decision: Decision) -> str:
    assert (decision.built == "unquantized") is (decision.because is not None)
    return YES if decision.built == "unquantized" else NO


class Mtpfix:
    """Answers the questions as `tools.sglang_lifting.Release` does."""

    def __init__(self, release: str) -> None:
        self.release = release

    def ask(self, kind: str, question: list[Any]) -> tuple[str, str]:
        """The answer, and the message of an exception."""
        try:
            return getattr(self, kind)(*question), ""
        except RaisesError as error:
            name, _, text = error.message.partition(": ")
            return name, text
        except PatternError:
            return "error", ""

    def ct_ignore(self, name: str, entries: list[str], packed: Packed) -> str:
        weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
        inputs = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
        group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
        said = {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "config_groups": {"group_0": group},
            "ignore": entries,
        }
        decision = decided(self.release, view(said), packed, name)
        if decision.built == "quantized":
            assert decision.scheme == "CompressedTensorsW8A8Fp8"
            return NO
        return exempt(decision)

    def ct_target(self, name: str, cls: str, targets: list[str], packed: Packed) -> str:
        entries = [Entry(text, "config.json", str(n)) for n, text in enumerate(targets)]
        found = target(name, cls, Entries(entries, eager=False), packed)
        if found is None:
            where = "in the compressed-tensors config."
            raise RaisesError(f"ValueError: Unable to find matching target for {name} {where}")
        return found.pointer

    def fp8(self, name: str, entries: list[str], packed: Packed, table: dict[str, str]) -> str:
        said = {"quant_method": "fp8", "activation_scheme": "dynamic", "ignored_layers": entries}
        found = view(said)

        def rename(entry: Entry) -> Entry:
            old = next((old for old in table if old in entry.text), None)
            return (
                entry
                if old is None
                else replace(entry, text=entry.text.replace(old, table[old], 1))
            )

        if table:
            found = replace(found, ignore=methods.of("fp8").renamed(found.ignore, rename))
        return exempt(decided(self.release, found, packed, name))

    def modelopt(self, name: str, entries: list[str], packed: Packed, experts: bool) -> str:
        said = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": entries}
        kind: Kind = "experts" if experts else "linear"
        return exempt(decided(self.release, view(said), packed, name, kind))

    def mixed(self, name: str, layers: dict[str, str], packed: Packed) -> str:
        named = {key: {"quant_algo": algo} for key, algo in layers.items()}
        said = {
            "quant_method": "modelopt_mixed",
            "quant_algo": "MIXED_PRECISION",
            "quantized_layers": named,
        }
        found = Algorithms(view(said), packed, self.release).of(name)
        return NO if found is None else found.algo

    def awq(self, name: str, entries: list[str]) -> str:
        said = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
        found = view({**said, "modules_to_not_convert": entries})
        return exempt(decided(self.release, found, {}, name))

    def gptq(self, name: str, rules: dict[str, Any]) -> str:
        said = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}
        found = view({**said, "sym": True, "dynamic": rules})
        decision = decided(self.release, found, {}, name)
        if decision.built == "unquantized":
            return exempt(decision)
        if not name:  # whose rules change nothing but what is skipped
            rule = decision.because
            changed = {} if rule is None else rules[rule.text]
            return str(changed.get("bits", 4))
        assert decision.packing is not None
        return str(decision.packing[0])

    def quark(self, name: str, entries: list[str], packed: Packed) -> str:
        return exempt(decided(self.release, view(_quark(entries, {})), packed, name))

    def quark_layer(self, name: str, layers: dict[str, Any], packed: Packed) -> str:
        found = Layers(view(_quark([], layers)), packed, self.release).of(name, "Linear")
        return str(found.config.get("n", "whole"))

    def auto_round(self, name: str, kind: Kind, config: dict[str, Any], packed: Packed) -> str:
        said = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}
        said["extra_config"] = config["extra"]
        if config["blocks"]:
            said["to_quant_block_names"] = config["blocks"]
        cls = {"experts": "FusedMoE", "lm_head": "ParallelLMHead"}.get(kind, "Linear")
        bits = Bits(view(said), packed, self.release).of(module(name, kind, cls)).bits
        return str(bits)


def _quark(entries: list[str], layers: dict[str, Any]) -> dict[str, Any]:
    side = {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False}
    return {
        "quant_method": "quark",
        "export": {"kv_cache_group": []},
        "exclude": entries,
        "global_quant_config": {"weight": side, "input_tensors": side},
        "layer_quant_config": layers,
        "layer_type_quant_config": {},
    }


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("kind", DATA["questions"])
def test_answers_are_those_of_the_release(kind: str, release: str) -> None:
    ours, theirs = Mtpfix(release), answers(DATA, release)[kind]
    questions = DATA["questions"][kind]
    said = [ours.ask(kind, question)[0] for question in questions]
    differ = [
        (question, answer, own)
        for question, answer, own in zip(questions, theirs, said, strict=True)
        if answer != own
    ]
    assert not differ


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("kind", WITH_TEXTS)
def test_exceptions_are_worded_as_by_the_release(kind: str, release: str) -> None:
    texts = json.loads(answers(DATA, release)[f"{kind}:texts"][0])
    ours = Mtpfix(release)
    said = {n: ours.ask(kind, DATA["questions"][kind][int(n)])[1] for n in texts}
    assert said == texts


def test_enough_is_asked() -> None:
    assert sum(map(len, DATA["questions"].values())) >= 3000
