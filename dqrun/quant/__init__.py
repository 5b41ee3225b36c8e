"""Quantisers, sites and plans. Knows nothing of graphs, data or training."""

from dqrun.quant.grid import Grid
from dqrun.quant.observer import Observer
from dqrun.quant.plan import QuantPlan
from dqrun.quant.quantizer import Phase, Quantizer
from dqrun.quant.site import Site, Sites, named_sites

__all__ = ["Grid", "Observer", "Phase", "QuantPlan", "Quantizer", "Site", "Sites", "named_sites"]
