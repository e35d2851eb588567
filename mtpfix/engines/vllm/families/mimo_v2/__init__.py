"""MiMo-V2: Flash, Pro, V2.5 and Omni."""
