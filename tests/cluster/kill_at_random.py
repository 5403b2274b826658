"""Kill `keyframe transcribe --engine ray` at random moments until it is done, and look at the rows.

    python tests/cluster/kill_at_random.py --rounds 20 --seed 1

Each round has its own folder of results; in it the command is killed again and again, each time
after a random while, a machine of the simulated cluster comes or goes, and at last the command
may end. Every id of the manifest must then have one row, in order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile
from pyarrow import parquet

SOURCE = Path(__file__).resolve().parents[2] / "src"
sys.path[:0] = [str(SOURCE), str(SOURCE.parent / "tests")]

from fixtures.spoken import RATE, SENTENCES, spoken  # noqa: E402
from keyframe_asr.cluster import ray_engine  # noqa: E402, F401  (Ray is quiet)

MOST_KILLS, LONGEST_WAIT = 6, 25.0


def main() -> None:
    """Run the rounds; exit code 1 with the first in which rows are not those of the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recordings", type=int, default=300)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(SOURCE)
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_archive(Path(folder), given.recordings)
        for number in range(given.rounds):
            kills, problem = one_round(manifest, Path(folder) / f"out-{number}", draw)
            print(f"round {number}: killed {kills} times; {problem or 'all rows, each once'}")
            if problem:
                sys.exit(1)


def write_archive(folder: Path, recordings: int) -> Path:
    """Write recordings, a long one among them, and their manifest."""
    for number, sentence in enumerate(SENTENCES):
        soundfile.write(folder / f"{number}.flac", spoken(sentence, pause=0.4), RATE)
    soundfile.write(folder / "long.flac", spoken(*SENTENCES * 8), RATE)
    rows = [
        {"id": f"id {n}", "uri": f"{n % 5}.flac" if n % 50 else "long.flac", "duration": 20.0}
        for n in range(recordings)
    ]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def one_round(manifest: Path, out: Path, draw: random.Random) -> tuple[int, str]:
    """Return how often the command was killed, and what is wrong with the rows."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    machines = [cluster.add_node(num_cpus=1)]
    command = [sys.executable, "-m", "keyframe_asr", "transcribe", "demo", str(manifest)]
    command += ["--engine", "ray", "--address", cluster.address, "--out", str(out)]
    kills = 0
    try:
        for _ in range(draw.randint(1, MOST_KILLS)):
            driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            try:
                driver.wait(draw.uniform(0.5, LONGEST_WAIT))
            except subprocess.TimeoutExpired:
                driver.kill()
                driver.wait()
                kills += 1
            if machines and draw.random() < 0.5:
                cluster.remove_node(machines.pop(), allow_graceful=False)
            elif not machines:
                machines.append(cluster.add_node(num_cpus=1))
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        cluster.shutdown()
    if done.returncode:
        return kills, done.stderr
    found = parquet.read_table(out, columns=["id", "error"]).to_pydict()
    expected = [json.loads(line)["id"] for line in manifest.read_text("utf-8").splitlines()]
    if found["id"] != expected:
        return kills, f"{len(found['id'])} rows of {len(expected)}, not those of the manifest"
    return kills, "" if not any(found["error"]) else "rows with an error"


if __name__ == "__main__":
    main()
