"""Quantised graph neural networks: trained, compared and run from one command line (`dqrun --help`)."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dqrun")
except PackageNotFoundError:  # a checkout on the path that was never installed has no metadata to read
    __version__ = "0+checkout"
