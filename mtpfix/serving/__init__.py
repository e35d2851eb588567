"""mtpfix inside vLLM: a draft is built as the disk has it, and no file is touched.

`plugin.py` is what vLLM imports, `hook.py` hooks it in, `engine.py` reads vLLM's objects and
changes them, and `memory.py` judges what they say by the plan that `mtpfix rewrite` makes.
"""
