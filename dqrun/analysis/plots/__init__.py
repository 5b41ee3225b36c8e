"""The pictures of `dqrun plot`: each module draws one kind from cells. Needs matplotlib, the extra [plots]."""
