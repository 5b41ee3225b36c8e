"""Functions for Python programs: `run`, `results`, `load_model`, `quantize` and `lower`; see docs/howto/python.md."""
