"""Repairs: what would be different (`change.py`), tried and judged by one loop (`search.py`)."""
