"""Programs that record and refresh what mtpfix knows about vLLM; not part of the package."""
