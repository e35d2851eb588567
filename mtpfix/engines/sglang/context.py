"""What rows of a policy are judged by, in one release, on one platform. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Context
from mtpfix.engines.sglang import first_tensor
from mtpfix.engines.sglang.methods.modelopt import selection
from mtpfix.engines.sglang.policy import DEVICES, Policy
from mtpfix.model import Checkpoint, Json, Platform, QuantView

_MODELOPT = (selection.FP8, selection.FP4, selection.MIXED, selection.W4AFP8)
_SHARED = "shared_expert"


def context_of(
    known: Policy,
    config: Mapping[str, Json],
    release: str,
    platform: Platform,
    view: QuantView,
    *,
    checkpoint: Checkpoint | None = None,
) -> Context:
    """Return the context that rows of a policy are judged in.

    Args:
        known: the family.
        config: the parsed `config.json`.
        release: the release.
        platform: the platform.
        view: the quantization metadata.
        checkpoint: the files; None: they do not exist yet.
    """
    # Rows speak of CUDA; what a device of another capability has otherwise is theirs to say.
    made = construction.context(known, config, release, "cuda", view.method)
    made = made.with_fields(cuda_capability=DEVICES[platform])
    if (probe := known.record.probe) is not None:
        made = made.with_fields(probed=first_tensor.probed(checkpoint, probe))
    return under_view(known, made, view)


def under_view(known: Policy, context: Context, view: QuantView) -> Context:
    """Return the context under other metadata.

    Whether a shared expert is built as one of the routed ones hangs on whether it is listed.
    """
    method = selection.in_force(view.raw, context) if view.method in _MODELOPT else view.method
    made = construction.under_method(known, context, method)
    texts = (entry.text for entry in view.ignore)
    listed = any(_SHARED in text and f"{_SHARED}_gate" not in text for text in texts)
    return made.with_fields(shared_expert_listed=listed)
