"""A folder for each family: what is known of it, and what it takes to construct it on a CPU."""
