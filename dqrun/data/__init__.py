"""Datasets: read from their sources, packed once, split, and served as batches."""
