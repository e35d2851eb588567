"""The values of the MTP block's tensors: scanned as their bytes pass, then judged.

`Scan` makes the `Summary` of one tensor, `choose_siblings` names the modules of the target model
that the block is compared with, `judge` says what is wrong, and `read_values` does all of it for a
source. Whoever streams the bytes himself feeds a `Scan` for each tensor, and calls `judge`.
"""
