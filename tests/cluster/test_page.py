"""What the page on clusters shows: files for Kubernetes and Slurm, and commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.command_line import keyframe


def block(repository: Path, kind: str) -> str:
    page = (repository / "docs" / "cluster.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def check_command(words: list[str]) -> None:
    """A command is taken by the command line: it fails only for want of its manifest."""
    assert words[:2] == ["keyframe", "transcribe"]
    done = keyframe(*words[1:], "--plan")
    assert (done.exit_code, done.stdout) == (1, ""), done


def test_the_manifest_for_kubernetes(repository: Path) -> None:
    job: dict[str, Any] = yaml.safe_load(block(repository, "yaml"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (head, workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] and container["resources"]["limits"]["cpu"]
    check_command(shlex.split(job["spec"]["entrypoint"]))


def test_the_script_for_slurm(repository: Path, tmp_path: Path) -> None:
    script = block(repository, "bash")
    file = tmp_path / "job.sh"
    file.write_text(script, encoding="utf-8")
    subprocess.run(["bash", "-n", file], check=True)
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    joined = re.sub(r"\$\(\(.*?\)\)", "256", script.replace("\\\n", ""))  # arithmetic
    (command,) = re.findall(r"keyframe transcribe .*", joined)
    check_command(shlex.split(command))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["a", "b", "--out", "x"], "AUDIO"),
        (["m", "--out", "x", "--workers", "2"], "--workers"),
        (["m", "--out", "x", "--format", "srt"], "--format"),
        (["m", "--beside"], "--beside"),
        (["m"], "--out"),
        (["m", "--out", "memory://x"], "memory://"),
    ],
)
def test_wrong_usage(wrong: list[str], named: str) -> None:
    assert named in keyframe("transcribe", "demo", *wrong, "--engine", "ray").usage_error


@pytest.mark.parametrize("flag", [["--plan"], ["--address", "auto"], ["--shards", "jsonl"]])
def test_flags_of_clusters_need_the_engine(flag: list[str]) -> None:
    assert "--engine ray" in keyframe("transcribe", "demo", "x.wav", *flag).usage_error
