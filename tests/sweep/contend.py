"""A process of test_locks.py: takes a lock again and again, and adds one to a number that only its holder may touch.

python contend.py LOCK ROUNDS
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from dqrun.sweep.locks import LockFile

path, rounds = Path(sys.argv[1]), int(sys.argv[2])
number, start = path.with_name("number.txt"), path.with_name("start")
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
for turn in range(rounds):
    lock = LockFile(path)
    while not lock.acquire():
        time.sleep(0)
    number.write_text(str(int(number.read_text()) + 1))
    if turn % 3:
        lock.release()
    else:  # as if it had been killed: its lock must be taken over, by one of all that see it
        assert lock.mine is not None
        path.write_text(replace(lock.mine, pid=2**22 + 1, started="").to_json())
