"""Time AXE against CTC and record the result next to this script (`keyframe bench axe`)."""

from pathlib import Path

from research.bench_command import bench

if __name__ == "__main__":
    bench("axe", Path(__file__).with_suffix(".json"))
