"""What runs beside SGLang, as far as it can be tested without: face, stand-ins, recorder, loads."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from mtpfix.engines._child.recorder import Asked
from mtpfix.engines.sglang._child import build, device, loading, patches, recorder, standins

RECORDER = recorder.Recorder(tolerant=False)


class LinearBase(nn.Module):
    """Named as SGLang's."""

    def __init__(self, method: object = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.quant_method = method


class ColumnParallelLinear(LinearBase):
    pass


class VocabParallelEmbedding(nn.Module):
    pass


class ParallelLMHead(VocabParallelEmbedding):
    pass


class UnquantizedLinearMethod:
    pass


class Fp8LinearMethod:
    pass


class Scheme:
    pass


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (ColumnParallelLinear(), "linear"),
        (ParallelLMHead(), "lm_head"),
        (VocabParallelEmbedding(), "embedding"),
        (nn.LayerNorm(2), None),
    ],
)
def test_the_kind_of_a_layer_is_that_of_its_nearest_class(
    layer: nn.Module, kind: str | None
) -> None:
    assert RECORDER.kind_of(layer) == kind


def verdict(layer: nn.Module, method: object = None, error: str | None = None) -> Any:
    return RECORDER.verdict(Asked(layer, "a.b", method, error))


def test_a_verdict_is_what_sits_on_the_layer() -> None:
    assert verdict(LinearBase(UnquantizedLinearMethod()))["built"] == "unquantized"
    assert verdict(LinearBase())["built"] == "unquantized"
    assert verdict(LinearBase(Fp8LinearMethod()))["scheme"] == "Fp8LinearMethod"
    assert verdict(LinearBase(), method=Fp8LinearMethod())["built"] == "quantized"
    layer = LinearBase(Fp8LinearMethod())
    layer.scheme = Scheme()
    found = verdict(layer)
    assert (found["scheme"], found["method"]) == ("Scheme", "Fp8LinearMethod")
    assert verdict(layer, error="ValueError: x") == {
        "built": "error",
        "scheme": None,
        "method": None,
        "error": "ValueError: x",
    }


def test_layers_that_never_ask_are_listed() -> None:
    model = nn.ModuleDict(
        {"asked": LinearBase(), "plain": nn.Linear(1, 1), "norm": nn.LayerNorm(1)}
    )
    rows = RECORDER.unasked(model, [{"param": "asked"}])
    assert rows == [{"param": "plain", "cls": "Linear", "kind": "linear"}]


def test_what_is_made_on_cuda_is_made_elsewhere() -> None:
    with device.Elsewhere("meta"):
        made = [torch.empty(1, device=name) for name in ("cuda", "cuda:0", torch.device("cuda"))]
        made.append(torch.empty(1).to("cuda"))
        made.append(torch.empty(1).cuda())
        here = torch.empty(1, device="cpu")
    assert {tensor.device.type for tensor in made} == {"meta"}
    assert here.device.type == "cpu"


def test_the_capability_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.CAPABILITY, raising=False)
    assert build.shown() == "9.0"
    monkeypatch.setenv(device.CAPABILITY, "10.0")
    assert device.capability() == (10, 0)


def test_a_stand_in_is_for_imports_of_sglang_alone() -> None:
    finder = standins.Finder(frozenset({"deep_gemm"}))
    assert finder.find_spec("deep_gemm", None) is None
    inside = {"__name__": "sglang.srt.layers.x", "finder": finder}
    exec("found = finder.find_spec('deep_gemm.utils', None)", inside)  # noqa: S102 - as a module of it
    exec("other = finder.find_spec('numpy', None)", inside)  # noqa: S102
    spec: Any = inside["found"]
    assert spec is not None
    assert inside["other"] is None
    made = finder.create_module(spec)
    assert (made.__name__, made.__version__) == ("deep_gemm.utils", standins.NEWEST)
    assert callable(made.anything)


def test_every_patch_says_what_and_why() -> None:
    for each in (*patches.ALWAYS, *patches.PAST_FAILURES):
        assert (each.__doc__ or "").strip()


class Model(nn.Module):
    """Three parameters, of which a load reaches some."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(4, dtype=torch.bfloat16), requires_grad=False)
        self.b = nn.Parameter(torch.zeros(4), requires_grad=False)
        self.c_input_scale = nn.Parameter(torch.zeros(1), requires_grad=False)


def loaded(model: Model, load: Any) -> dict[str, Any]:
    trace = loading.Trace(model)
    disk = {"a": torch.ones(4).to(torch.float8_e4m3fn), "b": torch.ones(2), "c": torch.ones(1)}
    with trace:
        load(dict(trace.follow(iter(disk.items()))))
    return trace.result()


def test_a_load_is_followed() -> None:
    model = Model()

    def load(disk: dict[str, torch.Tensor]) -> None:
        model.a.data.copy_(disk["a"])
        model.b.data[:2].copy_(disk["b"])

    assert loaded(model, load) == {
        "uninitialised": {},
        "optional": {"c_input_scale": [1]},
        "partial": {"b": [4]},
        "casts": ["a: float8_e4m3fn->bfloat16"],
        "unused": ["c"],
        "read": 3,
    }


def test_what_no_tensor_reaches_is_told() -> None:
    found = loaded(Model(), lambda disk: None)
    assert found["uninitialised"] == {"a": [4], "b": [4]}
    assert found["unused"] == ["a", "b", "c"]


def test_what_the_target_lends_may_stay_as_it_is() -> None:
    trace = loading.Trace(Model(), shared=("a",))
    found = trace.result()
    assert found["optional"] == {"a": [4], "c_input_scale": [1]}
    assert found["uninitialised"] == {"b": [4]}


@pytest.mark.parametrize(
    ("error", "key"), [(NotImplementedError("no kernel"), "postprocess"), (KeyError(1), "failure")]
)
def test_a_kernel_that_a_cpu_has_not_is_no_failure(
    error: Exception, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(model: object, planned: object, follow: object) -> None:
        raise error

    monkeypatch.setattr(loading.scheduler, "load", load)
    found = loading.load_part(Model(), loading.scheduler.Plan(None, None, None, draft=True))
    assert [name for name in ("failure", "postprocess") if found[name]] == [key]


def test_threads_are_done_in_this_one_and_keep_their_exceptions() -> None:
    def fail() -> Iterator[None]:
        raise KeyError("lost")

    with loading.Here(max_workers=4) as executor:
        good, bad = executor.submit(max, 1, 2), executor.submit(fail)
        assert set(concurrent.futures.as_completed([good, bad])) == {good, bad}
        assert good.result() == 2
        with pytest.raises(KeyError):
            bad.result()


def test_warnings_are_kept() -> None:
    with loading.Log() as log:
        logging.getLogger("sglang.srt").warning("no %s", "scale")
        logging.getLogger("sglang.srt").info("fine")
    assert log.lines == ["WARNING no scale"]
