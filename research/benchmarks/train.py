"""Time training steps at the paper's size and record the result here (`keyframe bench train`)."""

from pathlib import Path

from research.bench_command import bench

if __name__ == "__main__":
    bench("train", Path(__file__).with_suffix(".json"))
