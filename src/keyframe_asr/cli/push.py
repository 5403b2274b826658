"""`keyframe push`: publish a model on the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from keyframe_asr.cli.options import Model


def push(
    model: Model,
    repository: Annotated[
        str, typer.Argument(help="Name of the model on the Hugging Face Hub: OWNER/NAME.")
    ],
    dry_run: bool = typer.Option(False, "--dry-run", help="Only show what would be sent."),
    private: bool = typer.Option(False, "--private", help="If the model is new, make it private."),
    revision: str | None = typer.Option(
        None, help="Branch to send it to; created if needed. Default: main."
    ),
) -> None:
    """Publish a model on the Hugging Face Hub.

    Sends configuration, weights, tokenizer, language model and model card. A model that holds only
    what differs from a base model is sent with the base's weights, unless the base is on the Hub.
    Log in once with hf auth login, or set HF_TOKEN.
    """
    from keyframe_asr.io.hub_upload import prepared_upload, publish
    from keyframe_asr.io.model_card import WANTED
    from keyframe_asr.io.model_location import CARD_FILE, find_model

    with prepared_upload(find_model(model), repository) as upload:
        for name, size in upload.sizes.items():
            print(f"{size / 1e6:10.3f} MB  {name}")
        print(f"{sum(upload.sizes.values()) / 1e6:10.3f} MB  in all")
        if upload.base is not None:
            print(
                f"base model: {upload.base}, {'included' if upload.standalone else 'not included'}"
            )
        for key in upload.lacking:
            typer.echo(
                f"warning: {CARD_FILE} does not name the {WANTED[key]}; add {key} to its metadata",
                err=True,
            )
        where = repository if revision is None else f"{repository}, branch {revision}"
        if dry_run:
            kind = "private" if private else "public"
            print(f"would be sent to {where}, and create it as a {kind} model if it is new")
        else:
            page = publish(upload, repository, private=private, revision=revision)
            print(f"sent to {where}: {page}")
