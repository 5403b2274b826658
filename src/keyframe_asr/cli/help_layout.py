"""How commands show help and wrong usage: every option name whole, on terminals of any width.

typer draws options as tables in boxes, and a narrow terminal cuts their names off. There, the
options are listed without boxes: names and help in two columns, or below each other.
"""

from __future__ import annotations

import shutil
from typing import Any

import typer

from keyframe_asr.cli.options import CheckedCommand

BOXES_FROM_COLUMNS = 100
"""Narrower terminals show help without boxes."""


_PYDANTIC = "Value error, "


class Command(CheckedCommand):
    """A command whose help is listed without boxes on a narrow terminal."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; errors are told without the words of the library that checks them."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(_PYDANTIC)
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        if shutil.get_terminal_size().columns < BOXES_FROM_COLUMNS:
            self.rich_markup_mode = None
        super().format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, those of a panel together; used without boxes only."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None) or kind
            if record is not None:
                panels.setdefault(panel, []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)
