"""Trained networks and integer programs on graphs that they have not seen: what is loaded, and which graphs."""
