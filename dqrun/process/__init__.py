"""Settings and events of this process: signals, standard streams, cores, memory, warnings."""
