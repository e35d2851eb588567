"""Hand-made reports, one for each thing that a report can say."""

from __future__ import annotations

from dataclasses import replace

from mtpfix.model import (
    Acceptance,
    Accepted,
    Decision,
    Edit,
    EngineReport,
    Entry,
    Finding,
    Fix,
    Kind,
    ModelInfo,
    Module,
    ModuleReport,
    Part,
    Precision,
    Report,
    State,
    Target,
    Where,
)

CONFIG = "config.json"
POINTER = "/quantization_config"
LINEAR = Entry("Linear", CONFIG, f"{POINTER}/config_groups/group_0/targets/0")
DEAD = Entry("re:.*mtp_block.*", CONFIG, f"{POINTER}/ignore/130")
IGNORED = Entry(r"re:model\.layers\.43\..*", CONFIG, f"{POINTER}/ignore/131")
HEAD = Entry("lm_head", CONFIG, f"{POINTER}/ignore/0")

BF16 = Precision(State.UNQUANTIZED, "bf16")
FP8 = Precision(State.QUANTIZED, "fp8-channel")
MISSING = Precision(State.MISSING)

FP8_SCHEME = "CompressedTensorsW8A8Fp8"
REVISION = "5f4dcc3b5aa765d61d8327deb882cf99aa11bb22"

MODULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("e_proj", ("e_proj",)),
    ("h_proj", ("h_proj",)),
    ("attn.fused_wqa_wkv", ("attn.wq_a", "attn.wkv")),
    ("attn.wq_b", ("attn.wq_b",)),
    ("attn.wo_a", ("attn.wo_a",)),
    ("attn.wo_b", ("attn.wo_b",)),
    ("ffn.shared_experts.gate_up_proj", ("ffn.shared_experts.w1", "ffn.shared_experts.w3")),
    ("ffn.shared_experts.down_proj", ("ffn.shared_experts.w2",)),
    ("ffn.experts", tuple(f"ffn.experts.{e}.{w}" for e in range(4) for w in ("w1", "w2", "w3"))),
    ("head", ("head",)),
)
"""Modules of a DeepSeek V4 draft layer, and the members on disk."""


def module(
    name: str,
    *,
    members: tuple[str, ...] = (),
    part: Part = "draft",
    layer: int | None = 43,
    **changes: object,
) -> Module:
    """A module; its kind follows from its name."""
    kind: Kind = "linear"
    if name.endswith("experts"):
        kind = "experts"
    elif name.endswith("head"):
        kind = "lm_head"
    made = Module(part, name, kind, "ReplicatedLinear", members, param=name, layer=layer)
    return replace(made, **changes)  # type: ignore[arg-type]


def judged(
    made: Module,
    disk: Precision = BF16,
    *,
    quantized: bool = False,
    because: Entry | None = None,
    agrees: bool | None = True,
    **changes: object,
) -> ModuleReport:
    """A module set against the disk."""
    scheme = None
    if quantized:
        scheme = f"{FP8_SCHEME}MoEMethod" if made.kind == "experts" else FP8_SCHEME
    decision = Decision(made, "quantized" if quantized else "unquantized", scheme, because=because)
    report = ModuleReport(decision, disk, made.members, agrees)
    return replace(report, **changes)  # type: ignore[arg-type]


def draft(
    *, quantized: bool, because: Entry, layer: int = 43, **changes: object
) -> tuple[ModuleReport, ...]:
    """All modules of one draft layer, built alike."""
    return tuple(
        judged(
            module(
                f"model.layers.{layer}.{name}",
                members=tuple(f"mtp.{layer - 43}.{m}" for m in members),
                layer=layer,
            ),
            quantized=quantized,
            because=because,
            **changes,  # type: ignore[arg-type]
        )
        for name, members in MODULES
    )


def broken_draft(**changes: object) -> tuple[ModuleReport, ...]:
    """Unquantized on disk, built quantized."""
    return draft(
        quantized=True,
        because=LINEAR,
        **{"agrees": False, "consequence": "silent_garbage", **changes},  # type: ignore[arg-type]
    )


def engine(
    modules: tuple[ModuleReport, ...] = (), version: str = "0.32.0", **changes: object
) -> EngineReport:
    """One release; clean unless told otherwise."""
    return replace(
        EngineReport("vllm", version, "cuda", "clean", modules),
        **changes,  # type: ignore[arg-type]
    )


def report(*engines: EngineReport, **changes: object) -> Report:
    """A report on a DeepSeek V4 checkpoint."""
    model = ModelInfo(
        family="deepseek_v4",
        model_type="deepseek_v4",
        architectures=("DeepseekV4ForCausalLM",),
        draft_class="DeepSeekV4MTPModel",
        num_hidden_layers=43,
        mtp_layers=1,
    )
    made = Report(
        target=Target("hub", "acme/DeepSeek-V4-FP8-dynamic", REVISION),
        model=model,
        method="compressed-tensors",
        quant_files=(f"{CONFIG}#{POINTER}",),
        engines=engines,
        findings=(),
        exit_code=0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def mtp201(releases: tuple[str, ...] = ("0.32.0",)) -> Finding:
    """The finding that the whole project is about."""
    names = tuple(f"model.layers.43.{name}" for name, _ in MODULES)
    return Finding(
        code="MTP201",
        severity="error",
        confidence="run",
        message=f"10 MTP modules are unquantized on disk, but target `Linear` matches them and no "
        f"ignore entry excludes them: `{names[0]}`, `{names[1]}`, `{names[2]}` and 7 more. The "
        "load succeeds: weights are cast without a scale, scales stay uninitialised, and every "
        "draft token is rejected.",
        modules=names,
        where=Where(CONFIG, LINEAR.pointer, 812),
        repair=Fix(
            "exclude the MTP block with one entry of the ignore list",
            "safe",
            (Edit(CONFIG, f"{POINTER}/ignore/-", "add", IGNORED.text),),
        ),
        releases=releases,
    )


def mtp101(releases: tuple[str, ...] = ("0.32.0",)) -> Finding:
    """An entry that is meant for the MTP block and never matches."""
    return Finding(
        code="MTP101",
        severity="warning",
        confidence="read",
        message=f"`{DEAD.spelling}` never matches: it fits the module tree "
        "(`model.layers.43.mtp_block.ffn.experts`), but vLLM asks about "
        "`model.layers.43.ffn.experts`, which has no `mtp_block`",
        where=Where(CONFIG, DEAD.pointer, 745),
        releases=releases,
    )


# --- the cases ---------------------------------------------------------------


def silent_garbage() -> Report:
    """Loads, and every draft token is rejected."""
    return report(
        engine(broken_draft(), outcome="silent_garbage"),
        findings=(mtp201(), mtp101()),
        exit_code=1,
    )


def accepted() -> Report:
    """The same, where the project lives with it: ignored, and known from a baseline."""
    made = silent_garbage()
    error, warning = made.findings
    ignored = Acceptance("ignore", "waiting for vLLM 0.34", "mtpfix.toml", "2027-01-31")
    known = Acceptance("baseline", "it was there before", "baseline.json")
    both = (Accepted(error, ignored), Accepted(warning, known))
    return replace(made, findings=(), accepted=both, exit_code=0)


def load_error() -> Report:
    """The same metadata where the loader refuses."""
    error = "KeyError: 'model.layers.43.mtp_block.ffn.experts.routed_experts.w13_weight_scale'"
    modules = broken_draft(consequence="load_error", detail=error)
    finding = mtp201()
    start, _, _ = finding.message.partition("The load succeeds")
    finding = replace(finding, message=f"{start}Loading the draft fails: {error}.")
    return report(
        engine(modules, outcome="load_error", error=error), findings=(finding,), exit_code=1
    )


def clean() -> Report:
    """Nothing wrong; a trunk module that the same list exempts is shown too."""
    trunk = judged(
        module("lm_head", members=("head",), part="trunk", layer=None), BF16, because=HEAD
    )
    return report(engine((*draft(quantized=False, because=IGNORED), trunk)))


def no_mtp() -> Report:
    """config.json declares no MTP layer."""
    note = "config.json declares no MTP layers: there is no draft to judge"
    made = report(engine(outcome="no_mtp"), notes=(note,))
    return replace(made, model=replace(made.model, mtp_layers=0, draft_class=None))


def unknown() -> Report:
    """A pattern that cannot be judged."""
    modules = tuple(
        replace(
            r,
            agrees=None,
            consequence=None,
            decision=replace(r.decision, built="unknown", scheme=None),
        )
        for r in broken_draft()
    )
    reason = "`re:(a+)+$` takes too long"
    return report(engine(modules, outcome="unknown", reason=reason), exit_code=3)


def unknown_family() -> Report:
    """No policy fits, so no engine was asked."""
    message = "could not judge: no policy for this model: architectures 'FooForCausalLM'"
    return report(
        model=ModelInfo(None, "foo", ("FooForCausalLM",)),
        findings=(Finding("MTP901", "error", "run", message),),
        exit_code=3,
    )


def unquantized() -> Report:
    """No quantization metadata at all."""
    note = "config.json has no quantization_config: vLLM builds everything unquantized"
    return report(method=None, quant_files=(), notes=(note,))


RELEASES = (
    "0.20.2", "0.21.0", "0.22.1", "0.23.0", "0.24.0", "0.25.1", "0.26.0",
    "0.27.1", "0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0",
)  # fmt: skip


def many_releases() -> Report:
    """All releases: three outcomes, the newest first in the list."""
    error = "AttributeError: 'ReplicatedLinear' object has no attribute 'weight_scale_inv'"
    mended = draft(quantized=False, because=IGNORED)
    engines = []
    for version in reversed(RELEASES):
        if version < "0.24":
            engines.append(engine(broken_draft(), version, outcome="silent_garbage"))
        elif version < "0.30":
            modules = tuple(
                replace(r, agrees=False, consequence="load_error", detail=error)
                if r.decision.module.name.endswith("wo_a")
                else r
                for r in mended
            )
            engines.append(engine(modules, version, outcome="load_error", error=error))
        else:
            engines.append(engine(mended, version))
    reach = Finding(
        code="MTP301",
        severity="error",
        confidence="read",
        message="no metadata can help `model.layers.43.attn.wo_a` here: the forward pass reads "
        "`weight_scale_inv`. Fixed in vLLM 0.30.0.",
        modules=("model.layers.43.attn.wo_a",),
        remedy="serve with vLLM 0.30.0 or newer",
        releases=RELEASES[4:10],
    )
    return report(*engines, findings=(mtp201(RELEASES[:4]), reach), exit_code=1)


def with_trunk() -> Report:
    """Every trunk module: 43 layers, two draft layers."""
    names = ("attn.fused_wqa_wkv", "attn.wo_b", "ffn.experts")
    trunk = tuple(
        judged(
            module(f"model.layers.{layer}.{name}", part="trunk", layer=layer),
            FP8,
            quantized=True,
            because=LINEAR,
        )
        for layer in range(43)
        for name in (names if layer > 2 else ("attn.wo_b", "ffn.gate_up_proj"))
    )
    head = judged(module("lm_head", part="trunk", layer=None), BF16, because=HEAD)
    drafts = (*broken_draft(), *broken_draft(layer=44))
    return report(
        engine((head, *trunk, *drafts), outcome="silent_garbage"),
        findings=(mtp201(),),
        exit_code=1,
    )


CASES = {
    made.__name__: made
    for made in (
        silent_garbage,
        accepted,
        load_error,
        clean,
        no_mtp,
        unknown,
        unknown_family,
        unquantized,
        many_releases,
        with_trunk,
    )
}
