"""All trials of a command: the plan, the locks for processes that share the work, the worker that runs a trial."""
