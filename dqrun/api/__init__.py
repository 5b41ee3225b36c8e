"""What a Python program calls: `dqrun.run`, `results`, `load_model`, `quantize` and `lower`; see docs/python.md."""
