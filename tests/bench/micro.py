"""The micro-benchmarks of single rooms, which are programs of their own."""

import subprocess

from harness.process import environment
from measure import Row
from workload import helper


def shapelog(bench):
    """bench_shapelog's own words; None where it is not built."""
    path = helper("bench_shapelog")
    if not path:
        bench.say("bench_shapelog is not built: left out")
        return None
    done = subprocess.run([str(path), str(bench.size(1_000_000))], env=environment(),
                          cwd=bench.folder, check=False, capture_output=True, text=True,
                          timeout=900)
    assert done.returncode == 0, f"bench_shapelog ended with {done.returncode}: {done.stderr}"
    return Row("shapelog", "the shape log alone", [], [], done.stdout.splitlines())
