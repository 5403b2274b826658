"""`keyframe inspect`: how the text of a recording was found, as a picture or as a page."""

from __future__ import annotations

from pathlib import Path

import typer

from keyframe_asr.cli.options import Decode, Device, Model, Recording


def inspect(
    model: Model,
    audio: Recording,
    out: Path | None = typer.Option(
        None,
        help="FILE.png, a picture, or FILE.html, a page that plays the recording. "
        "Default: a picture with the recording's name, in this folder.",
    ),
    decode: Decode = None,
    device: Device = None,
) -> None:
    """Draw how a model found the text of a recording: spectrogram, CTC, keyframes, tokens."""
    target = out or Path(f"{audio.stem}.png")
    if target.suffix.lower() not in (".png", ".html"):
        raise typer.BadParameter(
            f"{target}: only PNG pictures and HTML pages can be made; give a name that ends in "
            ".png or .html",
            param_hint="--out",
        )
    from keyframe_asr.evaluation.inspection import headline, inspection_view
    from keyframe_asr.evaluation.inspection_page import write_page
    from keyframe_asr.evaluation.inspection_picture import draw_inspection, require_matplotlib

    is_page = target.suffix.lower() == ".html"
    if not is_page:
        require_matplotlib()  # said before the work, not after it
    from keyframe_asr.audio.reading import read_audio
    from keyframe_asr.inference.recognizer import load

    view = inspection_view(load(model, device), audio, decode)
    if is_page:
        write_page(view, read_audio(audio), audio.name, target)
        print(f"{target}: {headline(view)}")
        return
    legend = draw_inspection(view, target)
    print(f"{target}: {headline(view)}")
    if legend:
        numbered = "  ".join(f"{number} = {token}" for token, number in legend.items())
        typer.echo(
            "no font here has all tokens, so the picture shows numbers for them: "
            f"{numbered} (pip install zhplot brings a font for Mandarin)",
            err=True,
        )
