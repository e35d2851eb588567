"""Findings that a project lives with: ignored for a reason, or known from a baseline. Pure."""
