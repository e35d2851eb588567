"""Faults planted on purpose: kills, refused system calls, hostile files."""
