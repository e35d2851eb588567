"""The lost MTP block brought back from the base model: which tensors, as what, by which names.

Pure, but for `transfer.py`, which moves the bytes, and `commit.py`, which writes. The calls are in
`mtpfix/grafting.py`.
"""
