"""The process: signals, standard streams, cores, memory, and what it says in warnings."""
