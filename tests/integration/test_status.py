"""`tombolo status URL`: whether a bridge serves, as a container's health check asks."""

import json
import subprocess

from harness import Bridge, free_port, wait_for
from harness.process import as_user, environment, program


def status(url):
    return subprocess.run(as_user(None, [program(), "status", url]), env=environment(), check=False,
                          capture_output=True, text=True, timeout=60)


def test_active_bridge_is_well(bridge):
    for url in (bridge.url, bridge.url + "/", bridge.url + "/v1/sync"):
        done = status(url)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert json.loads(done.stdout)["status"] == "active"


def test_bridge_without_its_postgres_is_not_and_says_so(own_postgres, tmp_path):
    bridge = Bridge(own_postgres, data_dir=tmp_path / "bridge")
    own_postgres.stop()
    bridge.start(wait=False)
    wait_for(lambda: bridge.health() == "starting", what="an answer")
    done = status(bridge.url)
    assert done.returncode == 1 and json.loads(done.stdout)["status"] == "starting", done
    own_postgres.start()
    bridge.wait_until("active")
    assert status(bridge.url).returncode == 0


def test_who_is_not_there_or_no_bridge_is_not_well(bridge):
    nobody = status(f"http://127.0.0.1:{free_port()}")
    assert nobody.returncode == 1 and "could not ask http://127.0.0.1" in nobody.stderr, nobody
    assert nobody.stdout == ""
    other = status(f"http://127.0.0.1:{bridge.metrics_port}")
    assert other.returncode == 1 and "not a bridge's answer: 404" in other.stderr, other
