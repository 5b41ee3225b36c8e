"""launcher=ray: a cluster of one node, started by `ray start --head`."""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("ray") is None:  # importing it here would load it for all tests
    pytest.skip("needs the extra [ray]", allow_module_level=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster(sweeps: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running cluster."""
    log = tmp_path_factory.mktemp("ray") / "log.txt"
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "start", "--head", "--block", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, f"--port={free_port()}"],
            env=sweeps.environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            found = re.search(r"ray start --address='(.+)'", log.read_text())
            if found or process.poll() is not None:
                break
            time.sleep(0.1)
        assert found, log.read_text()
        yield found[1]
    finally:
        process.terminate()  # with --block it ends its daemons; `ray stop` would end everybody's
        process.wait(30)


def test_it_gives_the_rows_of_the_plain_launcher(sweeps: Any, cluster: str, tmp_path: Path) -> None:
    sweeps.check_product(tmp_path, "launcher=ray", f"launcher.address={cluster}", "jobs=2")


def test_failures_of_all_kinds_are_listed(sweeps: Any, cluster: str, tmp_path: Path) -> None:
    sweeps.check_faulty(tmp_path, "its process died", "launcher=ray", f"launcher.address={cluster}")


def test_a_cluster_that_is_not_there(sweeps: Any, tmp_path: Path) -> None:
    done = sweeps.run(tmp_path, "launcher=ray", f"launcher.address=127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "launcher.address must be that of a Ray cluster" in done.stderr
    assert "Traceback" not in done.stderr
