"""The lost MTP block brought back from the base model: which tensors, as what, by which names.

Pure, but for `donor.py` and `repeats.py`, which read slices, and `transfer.py`, `staging.py` and
`leftovers.py`, which move the bytes. The search for the right way is in `mtpfix/changes/graft.py`.
"""
