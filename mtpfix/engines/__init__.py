"""Engines that load a checkpoint, and what each of them builds for it."""
