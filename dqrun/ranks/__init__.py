"""The processes that train one trial together. One process alone has `alone.ALONE`, which changes nothing."""
