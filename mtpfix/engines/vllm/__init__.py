"""What vLLM builds: names, matchers, schemes and outcomes, release by release."""
