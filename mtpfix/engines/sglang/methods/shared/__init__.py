"""What several of SGLang's quantization methods share."""
