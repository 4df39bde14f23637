import signal
import subprocess
import sys
import time

import psutil
import pytest


@pytest.mark.e2e
@pytest.mark.parametrize("programs", [1, 5])
def test_a_benchmark_that_is_stopped_leaves_nothing(programs: int) -> None:
    """SIGTERM while its first program starts, or once all of them run, ends it with 130 and every one of them."""
    command = [sys.executable, "-m", "extproc", "bench", "--quick"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as bench:
        parts = _wait_for(bench, programs)
        bench.send_signal(signal.SIGTERM)
        output, _ = bench.communicate(timeout=30)
    assert bench.returncode == 130, output
    assert not [part for part in parts if part.is_running()]
    assert b"Traceback" not in output


def _wait_for(bench: "subprocess.Popen[bytes]", programs: int) -> list[psutil.Process]:
    give_up_s = time.monotonic() + 30
    while True:
        parts = psutil.Process(bench.pid).children()
        if len(parts) >= programs:
            return parts
        assert bench.poll() is None, bench.communicate()
        assert time.monotonic() < give_up_s
        time.sleep(0.01)
