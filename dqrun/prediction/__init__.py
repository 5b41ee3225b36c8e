"""Loads trained networks, integer programs and new graphs for predictions."""
