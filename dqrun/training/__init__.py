"""The training of one trial: loop, tasks, training checkpoints, random streams, evaluation."""
