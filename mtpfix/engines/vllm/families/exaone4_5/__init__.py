"""EXAONE 4.5."""
