"""What several quantization methods share."""
