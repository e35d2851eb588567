"""Methods that vLLM refuses for a draft, and those under which no list has a say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mtpfix import rules
from mtpfix.engines.vllm.case import Case, report
from mtpfix.engines.vllm.methods.shared.refusal import refusal
from mtpfix.engines.vllm.predict import predict
from mtpfix.model import Decision, EngineReport, Finding, QuantView
from mtpfix.repair.planner import plan
from mtpfix.rules.evidence import Evidence
from tests.unit.engines.small import (
    ALL,
    GLM,
    NEWEST,
    Tensors,
    case,
    checkpoint,
    known,
    tensors,
    view_of,
)

EXPERTS = "model.layers.2.mlp.experts"


def view(**metadata: Any) -> QuantView:
    return view_of({**GLM, "quantization_config": metadata})


def made(method: str, release: str = NEWEST, stored: Tensors | None = None) -> Case:
    found = case(GLM, tensors(GLM) if stored is None else stored, release)
    return replace(found, context=replace(found.context, method=method))


def decisions(release: str = NEWEST, **metadata: Any) -> dict[str, Decision]:
    seen = view(**metadata)
    here = made(seen.method, release)
    return {d.module.name: d for d in predict(known(GLM), seen, here.context, here.draft)}


def judged(release: str = NEWEST, stored: Tensors | None = None, **metadata: Any) -> EngineReport:
    seen = view(**metadata)
    return report(made(seen.method, release, stored), seen)


def findings(release: str = NEWEST, **metadata: Any) -> tuple[Finding, ...]:
    seen, stored = view(**metadata), tensors(GLM)
    here = made(seen.method, release, stored)
    found = report(here, seen)
    item = Evidence(here, seen, found, checkpoint(GLM, stored, ()), (), lambda *_: None)
    return rules.run([item])


# --- refused -----------------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
def test_a_deprecated_method_never_reaches_the_draft(release: str) -> None:
    found = judged(release, quant_method="fbgemm_fp8", activation_scale_ub=1.0)
    assert found.outcome == "load_error"
    assert "--allow-deprecated-quantization" in (found.error or "")
    asking = [r for r in found.modules if r.decision.module.asks]
    assert {r.decision.built for r in asking} == {"error"}


def test_a_refusal_is_one_finding_with_the_way_out() -> None:
    found = [f for f in findings(quant_method="fbgemm_fp8") if f.severity == "error"]
    assert [f.code for f in found] == ["MTP304"]
    assert found[0].fix is not None
    assert "without speculative decoding" in found[0].fix.title


def test_a_refused_method_is_not_repaired() -> None:
    seen = view(quant_method="fbgemm_fp8", modules_to_not_convert=[])
    found = plan([made("fbgemm_fp8")], seen)
    assert found.edits == ()
    assert found.unresolved
    assert "deprecated" in found.unresolved[0].reason


def test_what_is_taken_everywhere_is_refused_nowhere() -> None:
    for release in ALL:
        assert refusal("fp8", made("fp8", release).context) is None


# --- no list has a say ---------------------------------------------------------


@pytest.mark.parametrize("method", ["mxfp4", "experts_int8"])
@pytest.mark.parametrize("release", ALL)
def test_experts_are_quantized_whatever_the_list_says(method: str, release: str) -> None:
    listed = [EXPERTS, f"{EXPERTS}.0.up_proj", "re:.*", ""]
    found = decisions(release, quant_method=method, modules_to_not_convert=listed)
    assert found[EXPERTS].built == "quantized"
    others = [d for name, d in found.items() if name != EXPERTS]
    assert {d.built for d in others} == {"unquantized"}


def test_unquantized_experts_are_what_experts_int8_loads() -> None:
    plain: Tensors = {n: ("BF16", (8, 8)) for n in tensors(GLM) if not n.endswith("_scale")}
    found = judged(quant_method="experts_int8", stored=plain)
    assert found.outcome == "clean"


def test_unquantized_experts_cannot_be_mended_under_mxfp4() -> None:
    seen = view(quant_method="mxfp4", modules_to_not_convert=[])
    found = plan([made("mxfp4")], seen)
    assert found.edits == ()
    assert [u.module for u in found.unresolved] == [EXPERTS]
    assert "whatever the metadata says" in found.unresolved[0].reason
