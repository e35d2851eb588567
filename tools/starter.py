"""Starts a whole engine with an MTP draft, lets it write, and says what came of it.

    VLLM_PYTHON tools/starter.py FOLDER [--workers N] [--tokens N] [--draft FOLDER]

Prints one line of JSON: `workers`, for each of them parameter of the draft -> SHA-256; `tokens`,
those it wrote; `drafted` and `accepted`, how many the draft proposed and the model took. Imports
nothing of this project, so that any interpreter with vLLM runs it.
"""

from __future__ import annotations

import argparse
import json
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


def started(folder: str, workers: int, other: str | None) -> Any:
    """A small engine."""
    from vllm import LLM  # noqa: PLC0415 - workers that are spawned import this file too

    own = {} if other is None else {"model": other}
    return LLM(
        folder,
        skip_tokenizer_init=True,
        trust_remote_code=True,
        dtype="bfloat16",
        tensor_parallel_size=workers,
        enforce_eager=True,
        max_model_len=128,
        max_num_seqs=2,
        max_num_batched_tokens=128,
        enable_prefix_caching=False,
        gpu_memory_utilization=0.1,
        disable_log_stats=False,
        speculative_config={"method": "mtp", "num_speculative_tokens": 1, **own},
    )


def written(engine: Any, tokens: int) -> dict[str, Any]:
    """What the engine writes after a few tokens, the likeliest each time."""
    from vllm import SamplingParams  # noqa: PLC0415 - as above

    how = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
    (answer,) = engine.generate([{"prompt_token_ids": [1, 2, 3, 4]}], how)
    counted = {
        metric.name.rpartition("spec_decode_num_")[2]: metric for metric in engine.get_metrics()
    }
    return {
        "tokens": list(answer.outputs[0].token_ids),
        "drafted": counted["draft_tokens"].value,
        "accepted": counted["accepted_tokens"].value,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=0)
    parser.add_argument("--draft")
    args = parser.parse_args()
    engine = started(args.folder, args.workers, args.draft)
    result = {"workers": engine.collective_rpc(draft)}
    if args.tokens:
        result.update(written(engine, args.tokens))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
