"""SGLang: what it builds and loads for the MTP draft of a checkpoint."""
