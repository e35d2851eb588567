"""What it takes to construct Nemotron-Parse 3.5 on a CPU."""

from __future__ import annotations

import contextlib
from typing import Any

from ..._child.patch import patch
from ..step5.stand_ins import second_runner

patch(since=(0, 33), only=("radio_mbart_prefix",))(second_runner)


@patch(since=(0, 33), only=("radio_mbart_prefix",))
def parse_config() -> None:
    """Nemotron-Parse 3.5 gets a generic configuration class with parts: its own is remote code."""
    from transformers import AutoConfig, PretrainedConfig

    def init(self: Any, encoder: Any = None, decoder: Any = None, **options: Any) -> None:
        self.encoder = PretrainedConfig(**(encoder or {}))
        self.decoder = PretrainedConfig(**(decoder or {}))
        PretrainedConfig.__init__(self, **options)

    own = {
        "model_type": "radio_mbart_prefix",
        "__init__": init,
        "get_text_config": lambda self, *_, **__: self.decoder,
    }
    with contextlib.suppress(ValueError):
        cls = type("Generic_radio_mbart_prefix", (PretrainedConfig,), own)
        AutoConfig.register("radio_mbart_prefix", cls)
