"""Sweeps that share their work and survive being killed: the plan, the locks, the worker."""
