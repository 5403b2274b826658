"""`keyframe export`: write a model as ONNX graphs, for machines without torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keyframe_asr.cli.error_line import advice_on_interrupt, show_error
from keyframe_asr.cli.options import Model
from keyframe_asr.errors import KeyframeError, ModelError

if TYPE_CHECKING:
    from keyframe_asr.audio.reading import Samples
    from keyframe_asr.io.model_folder import StoredModel


MOST_CHANGED = 0.05
"""Largest share of the tokens that 8 bits may change in sherpa-onnx. `an4-small` changes 0.4 % of
them on AN4, and 3 % where it is unsure, on a synthesised voice."""


def export(
    model: Model,
    manifest: Annotated[
        str | None,
        typer.Argument(
            metavar="MANIFEST",
            help="With --verify: recordings with texts, as keyframe evaluate takes them. Default: "
            "noise that is made for the comparison.",
        ),
    ] = None,
    out: Path | None = typer.Option(
        None,
        help="Folder to write, which needs neither MODEL nor its weights. Default: add graphs to "
        "MODEL's own folder, beside the weights.",
    ),
    int8: bool = typer.Option(
        False,
        "--int8",
        help="Store matrices as 8-bit integers: a quarter of the size, and faster.",
    ),
    verify: bool = typer.Option(
        False,
        "--verify",
        help="Compare the export with the model, and exit with 1 if they differ by more than "
        "rounding.",
    ),
    target: Annotated[
        Literal["sherpa-onnx"] | None,
        typer.Option(
            "--for",
            help="Write a model that sherpa-onnx loads, with the inter-CTC alone. Default: graphs "
            "for keyframe itself.",
        ),
    ] = None,
) -> None:
    """Export a model to ONNX, so that it runs without torch, and verify the export.

    Exporting needs the extra export.
    """
    if manifest is not None and not verify:
        raise typer.BadParameter("goes with --verify; add it", param_hint="MANIFEST")
    from keyframe_asr.io.model_folder import find_model

    source = find_model(model)
    cuts = None if manifest is None else _Recordings(manifest)
    if target is None:
        if out is None and source != Path(model):
            raise typer.BadParameter(
                f"give the folder to write; {model} is no folder of yours", param_hint="--out"
            )
        _export_graphs(source, out, int8, verify, cuts)
    elif out is None:
        raise typer.BadParameter("give the folder to write", param_hint="--out")
    else:
        _export_for_sherpa(source, out, int8, verify, cuts)


def _export_graphs(
    source: Path, out: Path | None, integers: bool, verify: bool, given: _Recordings | None
) -> None:
    """Write graphs for keyframe itself, in the model's folder if there is no other, and compare."""
    from keyframe_asr.export.folder import add_graphs, export_model
    from keyframe_asr.io.model_folder import load_model_folder
    from keyframe_asr.io.model_location import graphs_folder

    if out is None:
        exported = add_graphs(source, integers=integers, progress=_doing)
    else:
        exported = export_model(source, out, integers=integers, progress=_doing)
    folder = source if out is None else out
    written = graphs_folder(folder)
    size = sum(path.stat().st_size for path in written.iterdir()) / 1e6
    print(f"{written}: {size:.1f} MB, {len(exported.sizes)} graphs")
    if verify:
        again = "run it again" if out is None else "remove it to start over"
        with (
            advice_on_interrupt(f"the export is written, but not compared; {again}"),
            _removed_if_unlike(None if out is not None else written),
        ):
            _verified(load_model_folder(source), folder, integers, given)


@contextmanager
def _removed_if_unlike(graphs: Path | None) -> Iterator[None]:
    """Remove graphs beside weights that are not like the model; they would be its default."""
    try:
        yield
    except UnlikeError as error:
        if graphs is None:
            raise
        shutil.rmtree(graphs)
        raise UnlikeError(f"{error}; they are removed again") from None


class UnlikeError(ModelError):
    """An export that differs from its model by more than the tolerances."""


def _doing(what: str) -> None:
    typer.echo(what, err=True)


class _Recordings:
    """The recordings of a manifest, and the texts of those that could be read."""

    def __init__(self, manifest: str) -> None:
        from keyframe_asr.data.manifest import load_manifest

        self.manifest = manifest
        self.cuts = list(load_manifest(manifest))
        self.references = list[str]()
        self.failed = list[KeyframeError]()

    def samples(self) -> Iterator[Samples]:
        """Read them one after another."""
        from keyframe_asr.data.manifest import text
        from keyframe_asr.evaluation.scoring import read_batches

        for batch in read_batches(self.manifest, self.cuts, self.failed):
            for one in batch:
                self.references.append(text(one.cut))
                yield one.samples


def _verified(model: StoredModel, folder: Path, integers: bool, given: _Recordings | None) -> None:
    """Compare with the graphs of a folder, print what was found, and add it to the card.

    Raises:
        ModelError: the export differs by more than rounding.
        KeyframeError: a recording cannot be read.
    """
    from keyframe_asr.cli.measuring import progress_lines
    from keyframe_asr.export.verification import OF_STREAMS, made_up_recordings, verify
    from keyframe_asr.io.model_location import graphs_folder
    from keyframe_asr.runtime.network import open_network

    line = progress_lines()
    noise = made_up_recordings() if given is None else []
    total = len(noise) if given is None else len(given.cuts)
    found = verify(
        model,
        open_network(folder),
        noise if given is None else given.samples(),
        integers=integers,
        progress=lambda done: line("comparing", done, total),
    )
    lines, problems = found.described(), found.problems()
    if given is not None:
        of_streams = {name: one for name, one in found.greedy.items() if name.endswith(OF_STREAMS)}
        for name, pairs in {found.mode: found.texts, **of_streams}.items():
            compared, worse = _errors(name, pairs, given, model)
            lines.append(compared)
            problems += worse
    _conclude(graphs_folder(folder), given, lines, problems)


def _export_for_sherpa(
    source: Path, out: Path, integers: bool, verify: bool, given: _Recordings | None
) -> None:
    """Write a model for sherpa-onnx, and compare what is heard there."""
    from keyframe_asr.export.sherpa import export_for_sherpa, sherpa_onnx
    from keyframe_asr.io.model_folder import load_model_folder

    if verify:
        sherpa_onnx()
    export_for_sherpa(source, out, integers=integers, progress=_doing)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    print(f"{out}: {size:.1f} MB, for sherpa-onnx")
    if verify:
        with advice_on_interrupt(
            "the export is written, but not compared; remove it to start over"
        ):
            _verified_there(load_model_folder(source), out, integers, given)


def _verified_there(
    model: StoredModel, out: Path, integers: bool, given: _Recordings | None
) -> None:
    """As `_verified`, for what sherpa-onnx hears."""
    from keyframe_asr.cli.measuring import progress_lines
    from keyframe_asr.evaluation.metrics import count_errors
    from keyframe_asr.export.sherpa import heard_by_both
    from keyframe_asr.export.verification import made_up_recordings

    line = progress_lines()
    noise = made_up_recordings() if given is None else []
    total = len(noise) if given is None else len(given.cuts)
    pairs = []
    for pair in heard_by_both(model, out, noise if given is None else given.samples()):
        pairs.append(pair)
        line("comparing", len(pairs), total)
    tokens = sum(len(ours) for ours, _ in pairs)
    wrong = count_errors([ours for ours, _ in pairs], [theirs for _, theirs in pairs]).total
    same = sum(ours == theirs for ours, theirs in pairs)
    lines = [
        f"{len(pairs)} recordings, {tokens} tokens of the inter-CTC: the same in sherpa-onnx in "
        f"{same} recordings, {wrong} other tokens"
    ]
    most = MOST_CHANGED * tokens if integers else 0
    if integers and given is None:
        lines.append("in noise, 8 bits may change any token: give recordings to judge them")
        most = tokens
    worse = wrong > most
    problems = [f"{wrong} of {tokens} tokens differ in sherpa-onnx"] if worse else []
    _conclude(out, given, lines, problems)


def _conclude(out: Path, given: _Recordings | None, lines: list[str], problems: list[str]) -> None:
    """Print what was found, and add it to the card.

    Raises:
        UnlikeError: there are problems.
        KeyframeError: a recording could not be read.
    """
    from keyframe_asr.io.atomic_write import write_whole
    from keyframe_asr.io.model_location import CARD_FILE

    where = "noise that was made for it" if given is None else given.manifest
    failed = [] if given is None else given.failed
    if failed:
        lines.append(f"recordings that could not be read: {len(failed)}")
    verdict = f"Beyond the tolerances: {'; '.join(problems)}." if problems else "Verified."
    print(*lines, *([] if problems else [verdict]), sep="\n")
    card = [
        f"## Compared with the model on {where}",
        "",
        *(f"- {one}" for one in lines),
        "",
        verdict,
    ]
    written = (out / CARD_FILE).read_text(encoding="utf-8")
    write_whole(out / CARD_FILE, "\n".join([written, *card, ""]), "use --out", ModelError)
    for error in failed:
        show_error(error)
    if failed:
        raise KeyframeError(f"{where}: recordings that were not compared: {len(failed)}")
    if problems:
        raise UnlikeError(f"{out}: differs from the model: {'; '.join(problems)}")


def _errors(
    name: str, pairs: Sequence[tuple[str, str]], given: _Recordings, model: StoredModel
) -> tuple[str, list[str]]:
    """Compare the error rates of texts: a line, and what is beyond the tolerance."""
    from keyframe_asr.evaluation.comparison import compare
    from keyframe_asr.evaluation.metrics import UNIT_NAMES, count_errors, split_units
    from keyframe_asr.export.verification import MOST_POINTS
    from keyframe_asr.text.forms import normaliser

    form = model.config.text_form
    normalise = normaliser(form)
    ours, theirs = ([pair[place] for pair in pairs] for place in (1, 0))
    if not any(map(normalise, given.references)):
        return "no reference has a text, so there is no error rate", []
    references = [split_units(normalise(one), form) for one in given.references]
    rates = [
        100 * count_errors(references, [split_units(normalise(one), form) for one in texts]).rate
        for texts in (theirs, ours)
    ]
    difference = compare(given.references, theirs, ours, form)
    points = [100 * one for one in (difference.difference, difference.low, difference.high)]
    line = (
        f"{UNIT_NAMES[form.unit]}, {name}: model {rates[0]:.2f} %, export {rates[1]:.2f} %, "
        f"difference {points[0]:+.2f} points (95 % {points[1]:+.2f} to {points[2]:+.2f}, paired)"
    )
    worse = points[0] > MOST_POINTS and points[1] > 0  # beyond noise
    problem = f"{points[0]:.2f} points more errors of {name} (at most {MOST_POINTS})"
    return line, [problem] if worse else []
