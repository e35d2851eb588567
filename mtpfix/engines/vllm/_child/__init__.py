"""The program that runs inside an environment with vLLM, where mtpfix need not be installed.

It imports the standard library, torch, transformers and vLLM, and nothing of mtpfix but
what `mtpfix/engines/_child` shares, where its entry point is, and the `stand_ins.py` of the
families. `mtpfix.engines.vllm.live` is its only caller.
"""
