"""`keyframe inspect`: a picture or page of how a model recognised a recording."""

from __future__ import annotations

from pathlib import Path

import typer

from keyframe_asr.cli.options import Channel, Decode, Device, Model, Recording


def inspect(
    model: Model,
    audio: Recording,
    out: Path | None = typer.Option(
        None,
        help="Output file: FILE.png for a picture, FILE.html for a page that plays the recording. "
        "Default: a PNG named after the recording, in the current folder.",
    ),
    decode: Decode = None,
    channel: Channel = None,
    device: Device = None,
) -> None:
    """Draw how a model recognised a recording: spectrogram, CTC, keyframes, tokens."""
    target = out or Path(f"{audio.stem}.png")
    if target.suffix.lower() not in (".png", ".html"):
        raise typer.BadParameter(
            f"{target}: unknown format; give a name that ends in .png or .html",
            param_hint="--out",
        )
    from keyframe_asr.evaluation.inspection import headline, inspection_view
    from keyframe_asr.evaluation.inspection_page import write_page
    from keyframe_asr.evaluation.inspection_picture import draw_inspection, require_matplotlib

    is_page = target.suffix.lower() == ".html"
    if not is_page:
        require_matplotlib()  # fail before the work
    from keyframe_asr.inference.batch_recognizer import read_recording
    from keyframe_asr.inference.recognizer import load

    recognizer = load(model, device)
    samples = read_recording(audio, channel)  # once, since it may be a pipe
    view = inspection_view(recognizer, samples, decode)
    if is_page:
        write_page(view, samples, audio.name, target)
        print(f"{target}: {headline(view)}")
        return
    legend = draw_inspection(view, target)
    print(f"{target}: {headline(view)}")
    if legend:
        numbered = "  ".join(f"{number} = {token}" for token, number in legend.items())
        typer.echo(
            "no installed font has all tokens, so the picture shows numbers instead: "
            f"{numbered} (install a font of the script, for Mandarin with pip install zhplot, or "
            "write a page with --out FILE.html)",
            err=True,
        )
