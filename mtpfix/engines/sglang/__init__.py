"""What SGLang builds for an MTP draft: names, matchers, schemes and outcomes by release."""
