"""openPangu-Ultra-MoE."""
