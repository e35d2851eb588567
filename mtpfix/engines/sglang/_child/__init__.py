"""The program that runs inside an environment with SGLang, where mtpfix need not be installed.

It imports the standard library, torch, transformers and SGLang, and nothing of mtpfix but
what `mtpfix/engines/_child` shares, by its place: there is its entry point.
`mtpfix.engines.sglang.live` is its only caller.
"""
