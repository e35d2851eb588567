"""The records that the policy files are parsed into: a key that none of them has is refused."""
