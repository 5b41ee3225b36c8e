"""From a command line and presets to checked configurations, with one-line errors (Hydra)."""
