"""Datasets: readers of their sources, packed storage, splits and batches."""
