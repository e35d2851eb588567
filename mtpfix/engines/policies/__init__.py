"""What policy files of any engine are made of, and how modules are constructed from them."""
