"""Composes checked configurations from a command line and presets, with one-line errors (Hydra)."""
