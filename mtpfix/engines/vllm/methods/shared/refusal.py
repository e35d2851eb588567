"""Methods that vLLM refuses for a draft, before it builds anything. Pure.

The rows are data: `refused` in `NAME.json` of the method. Sources:
`ModelConfig._verify_quantization`, `SpeculativeConfig`, and `verify_quantization` of each
platform.
"""

from __future__ import annotations

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.policies.method import RaisesError
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.records.method import Refusal


def refusal(method: str, context: Context) -> Refusal | None:
    """The row that says why a release refuses `method` on a platform, or None if it does not."""
    return first(policy.method(method).refused, context)


def refuse(method: str, context: Context) -> None:
    """Raises what vLLM raises, where it refuses the method.

    Raises:
        RaisesError: the exception of vLLM.
    """
    row = refusal(method, context)
    if row is not None:
        raise RaisesError(row.error)
