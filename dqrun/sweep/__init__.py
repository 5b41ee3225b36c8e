"""Many trials of one command: the plan, the locks by which processes share the work, the worker that runs a trial."""
