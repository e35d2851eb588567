"""mtpfix: the quantization metadata of MTP blocks, judged by vLLM's own rules."""

__version__ = "0.1.0"
