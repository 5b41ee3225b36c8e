"""One file for each source of datasets; each has `load(dataset, data) -> GraphDataset`."""
