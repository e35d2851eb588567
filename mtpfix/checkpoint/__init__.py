"""What is on disk: sources, headers, metadata files and the precision of each module."""
