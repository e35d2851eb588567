"""Nemotron-H with the vision wrapper."""
