"""SGLang: what it builds of the MTP block of a checkpoint, release by release."""
