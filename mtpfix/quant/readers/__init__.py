"""How metadata is read that several engines read alike: one module a method. Pure."""
