"""The steps of the Dockerfile, run in an empty environment: no container can be built in a test."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import soundfile
import yaml

from fixtures.spoken import RATE, SENTENCES, spoken

LARGEST, BASE = 600, 130
"""Megabytes of an image, and of the Python image that it is based on."""


def steps(repository: Path) -> dict[str, list[str]]:
    """The instructions of the Dockerfile by their names."""
    found: dict[str, list[str]] = {}
    for line in (repository / "Dockerfile").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if name.isupper():
            found.setdefault(name, []).append(rest)
    return found


@pytest.mark.slow
def test_the_steps_give_a_server_that_is_healthy(repository: Path, tmp_path: Path) -> None:
    found = steps(repository)
    build, home = tmp_path / "build", tmp_path / "opt"
    build.mkdir()
    for line in found["COPY"]:
        *sources, target = shlex.split(line)
        for name in sources:
            if name.startswith("--from"):
                break
            source = repository / name
            if source.is_dir():  # its content is copied
                shutil.copytree(source, build / target, dirs_exist_ok=True)
            else:
                shutil.copy(source, build / target)
    (run,) = found["RUN"]
    script = run.replace("/opt/keyframe", str(home)).replace("python -m", f"{sys.executable} -m", 1)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(["sh", "-ec", script], cwd=build, env=clean, check=True, capture_output=True)
    size = sum(one.lstat().st_size for one in home.rglob("*") if one.is_file()) / 1e6
    assert size + BASE < LARGEST
    assert not list(home.rglob("site-packages/torch"))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {"PATH": f"{home}/bin:{os.environ['PATH']}", "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir(mode=0o777)
    entry = json.loads(found["ENTRYPOINT"][0])
    server = subprocess.Popen([*entry, "demo", "--port", port], env=environment, cwd=tmp_path)
    try:
        (check,) = (line.partition("CMD ")[2] for line in found["HEALTHCHECK"])
        command = ["sh", "-c", check.replace("8000", port)]
        for _ in range(100):
            if subprocess.run(command, env=environment, capture_output=True).returncode == 0:
                break
            time.sleep(0.2)
        else:
            raise AssertionError(server.poll())
        soundfile.write(tmp_path / "a.wav", spoken(SENTENCES[0]), RATE)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/audio/transcriptions",
            files={"file": ("a.wav", (tmp_path / "a.wav").read_bytes())},
        )
        assert answer.json()["text"]
    finally:
        server.terminate()
        assert server.wait(20) == 0
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_container_is_confined(repository: Path) -> None:
    (user,) = steps(repository)["USER"]
    assert not re.match(r"0\b|root", user)
    (service,) = yaml.safe_load((repository / "compose.yaml").read_text())["services"].values()
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert all(one.startswith("127.0.0.1:") for one in service["ports"])
