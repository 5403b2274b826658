"""`python -m research STUDY` measures a study and writes what it found; `make study NAME=STUDY`."""

from __future__ import annotations

import typer

from keyframe_asr.cli.main import main
from research.study_command import study

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(study)

if __name__ == "__main__":
    main(app)
