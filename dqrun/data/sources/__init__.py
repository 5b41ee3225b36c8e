"""Sources of datasets: the module of each source has `load(dataset, data) -> GraphDataset`."""
