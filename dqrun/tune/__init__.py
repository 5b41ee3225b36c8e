"""`dqrun tune`: searches settings by validation, with the same budget for each compared method."""
