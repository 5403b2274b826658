"""Write the graphs that let the shipped models run without torch, beside their weights.

python -m research.shipped_graphs [MODEL ...]

Run it again whenever weights, vocabulary or architecture of a model change, or the graphs of
`keyframe_asr.export`. It takes a minute for a model with Whisper.
"""

from __future__ import annotations

import argparse

from keyframe_asr.export.folder import add_graphs
from keyframe_asr.io.model_location import shipped_models


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    shipped = shipped_models()
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(shipped)}")
    for name in parser.parse_args().models or shipped:
        print(name, flush=True)
        add_graphs(shipped[name], integers=True, progress=lambda doing: print(" ", doing))


if __name__ == "__main__":
    main()
