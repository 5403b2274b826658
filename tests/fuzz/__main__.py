"""Run damaged files through the command line: python -m fuzz --help."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fuzz.run import Plan, run


def main() -> None:
    """Parse the arguments and run; exit code 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another seed damages otherwise")
    parser.add_argument("--audio", type=int, default=10_000, help="number of damaged recordings")
    parser.add_argument("--text", type=int, default=2_000, help="number of other damaged files")
    parser.add_argument("--only", default="", help="repeat one case, such as audio-17 or text-3")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="for files")
    given = parser.parse_args()
    plan = Plan(given.seed, given.audio, given.text, given.processes, given.keep, given.only)
    report = run(plan)
    print(report.summary())
    sys.exit(bool(report.failures))


if __name__ == "__main__":
    main()
