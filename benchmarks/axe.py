"""Time AXE against CTC and record the result next to this script (`keyframe bench axe`)."""

from pathlib import Path

from keyframe_asr.cli.bench import bench

if __name__ == "__main__":
    bench("axe", Path(__file__).with_suffix(".json"))
