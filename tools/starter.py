"""Starts a whole engine with an MTP draft, and prints what each worker has loaded for it.

    VLLM_PYTHON tools/starter.py FOLDER [TENSOR-PARALLEL]

Prints one line of JSON: for each worker, parameter of the draft -> SHA-256. Imports nothing of
this project, so that any interpreter with vLLM runs it.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def draft(worker: Any) -> dict[str, str]:
    """SHA-256 of every parameter of the draft in one worker."""
    from hashlib import sha256  # noqa: PLC0415 - this travels to the worker by itself

    import torch  # noqa: PLC0415 - as above

    drafter = worker.model_runner.drafter.model
    return {
        name: sha256(p.data.contiguous().flatten().view(torch.uint8).numpy()).hexdigest()
        for name, p in drafter.named_parameters()
    }


def main() -> None:
    """Command line."""
    from vllm import LLM  # noqa: PLC0415 - workers that are spawned import this file too

    engine = LLM(
        sys.argv[1],
        skip_tokenizer_init=True,
        trust_remote_code=True,
        dtype="bfloat16",
        tensor_parallel_size=int(sys.argv[2]) if sys.argv[2:] else 1,
        enforce_eager=True,
        max_model_len=128,
        max_num_seqs=2,
        max_num_batched_tokens=128,
        enable_prefix_caching=False,
        gpu_memory_utilization=0.1,
        speculative_config={"method": "mtp", "num_speculative_tokens": 1},
    )
    print(json.dumps(engine.collective_rpc(draft)))


if __name__ == "__main__":
    main()
