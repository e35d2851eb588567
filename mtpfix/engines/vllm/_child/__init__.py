"""The program that runs inside an environment with vLLM, where mtpfix need not be installed.

It imports the standard library, torch, transformers and vLLM, and nothing of mtpfix but
`mtpfix/engines/fork_server.py` and the `stand_ins.py` of the families.
`start` is its entry point; `mtpfix.engines.vllm.live` is its only caller.
"""
