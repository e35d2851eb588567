"""Intern-S2-Mobius."""
