"""What the programs that run inside the environments of engines share.

mtpfix need not be installed there: it imports the standard library, and nothing of mtpfix but
what stands here and `mtpfix/engines/fork_server.py`. `start` is the entry point for every engine;
`mtpfix.engines.child` is its only caller.
"""
