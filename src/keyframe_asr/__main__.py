"""Run the command line: the program `keyframe`, and `python -m keyframe_asr`."""

from __future__ import annotations

from keyframe_asr.cli.interrupts import end_on_interrupt


def main() -> None:
    """Run the command line, and end with one line after Ctrl-C, also while it is imported."""
    end_on_interrupt()
    from keyframe_asr.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
