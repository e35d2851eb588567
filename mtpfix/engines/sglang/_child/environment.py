"""What the child sets in its environment before it imports SGLang."""

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "SGLANG_DISABLE_TQDM": "1",
    "SGLANG_LOGGING_LEVEL": "ERROR",
}
"""Keeps SGLang off the network, quiet, and small."""
