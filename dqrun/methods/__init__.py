"""What a quantisation-aware training method does beyond its quantisers."""
