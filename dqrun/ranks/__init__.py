"""The processes that train one trial together. A single process uses `alone.ALONE`, whose methods have no effect."""
