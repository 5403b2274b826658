"""Choose how a model is best decoded, on development data (`keyframe tune`).

The data are encoded once. Candidates of a few searches are scored by every part of the model
(`evaluation.candidates`), and the weights of each mode are chosen by ranking them again: a coarse
grid, each point averaged with its neighbours. The winner of each mode is then decoded as it would
be in use, and the default mode is chosen from these results.

Small data must not decide by chance. Greedy decoding stays the default, the language model is left
out, weights stay the usual ones and the beam stays narrow, unless the other setting makes fewer
errors by at least `LEAST_GAIN` of the reference and by more than one standard error of the paired
difference over recordings. Between modes that take about the same time, the fewest errors decide.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from lhotse.cut import Cut

from keyframe_asr.config.decoding import DecodingConfig, GreedyMode, SearchConfig
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.errors import KeyframeError, ManifestError
from keyframe_asr.evaluation.candidates import (
    DECODER_BEAM,
    CandidatePool,
    Counts,
    Scored,
    edit_distance,
    scored_candidates,
)
from keyframe_asr.evaluation.metrics import UNIT_NAMES, split_units
from keyframe_asr.evaluation.scoring import ReadCut, read_batches
from keyframe_asr.inference.batch_recognizer import EncodedAudio
from keyframe_asr.inference.options import (
    DECODE_MODES,
    FRAME_MODES,
    GREEDY_MODES,
    DecodeMode,
    RecognitionOptions,
)
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.search import DEFAULT_BEAM
from keyframe_asr.text.forms import normaliser

LEAST_GAIN = 0.001
"""Fewer errors per unit of the references than this are no reason for another setting."""

MOST_SECONDS = 1500.0
"""Audio that is used of longer development data, spread evenly: its encodings stay in memory."""

MOST_DECODED_SECONDS = 300.0
"""The same for a model with a pretrained decoder, whose searches are slow."""

WIDER_BEAM = 20
"""Beam that is tried in addition to the usual one in the best modes."""

WIDENED_MODES = 2
"""The wider beam is tried in as many: the second best may gain more from it than the best."""

LANGUAGE_MODEL_WEIGHTS = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0)
TOKEN_BONUSES = (0.0, 1.0, 2.0, 3.0)
CTC_WEIGHTS = (0.2, 0.4, 0.6, 0.8)
DECODER_WEIGHTS = (0.3, 0.5, 0.7, 0.85)

USUAL: dict[str, bool | float] = {
    "language_model": True,
    "language_model_weight": 0.6,
    "token_bonus": 2.0,
}
"""Search with a language model that stays unless another is better: on the development data of all
shipped models the best weights were 0.4 to 1, the best bonus 1 to 3."""

HALF = 50
"""Per cent of the work that reading the data and scoring candidates are taken for."""

LANGUAGE_MODEL_STEM = "language_model"
"""Name of the language model in a model folder, without the suffix."""

TUNED_MODES: tuple[DecodeMode, ...] = ("axe", "ctc", "rescore", "joint")
"""Modes that are tuned if none are named; `attention` is slow and seldom the best, unless the
decoder is a pretrained one."""


Encode: TypeAlias = Callable[[Sequence[ReadCut]], EncodedAudio]
"""Runs the encoders on a batch."""


@dataclass(frozen=True)
class Row:
    """One setting as it was decoded.

    Attributes:
        mode: decode mode.
        search: its search.
        errors: errors (N,) of each recording.
        rate: errors per unit of the references.
        rtf: seconds of computing, encoding included, per second of audio.
    """

    mode: DecodeMode
    search: SearchConfig
    errors: Counts
    rate: float
    rtf: float


@dataclass(frozen=True)
class Tuned:
    """The decoding chosen, and what it was chosen from.

    Attributes:
        decoding: to be stored in the model's `config.yaml`.
        rows: every setting that was decoded, in the order of preference.
        language_model: file to be stored as `decoding.language_model`; None if none is used.
        unit: "WER", "CER" or "MER".
        recordings: number of recordings used.
        failed: one error per recording that could not be read.
    """

    decoding: DecodingConfig
    rows: list[Row]
    language_model: Path | None
    unit: str
    recordings: int
    failed: list[KeyframeError]

    @property
    def chosen(self) -> Row:
        """The row of the default mode."""
        search = self.decoding.searches[self.decoding.mode]
        return next(
            row for row in self.rows if row.mode == self.decoding.mode and row.search == search
        )


def tune(
    recognizer: Recognizer,
    dev: str | Sequence[Cut],
    *,
    language_model: Path | None = None,
    modes: Sequence[DecodeMode] = (),
    name: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
    encode: Encode | None = None,
    favoured: DecodeMode | None = None,
) -> Tuned:
    """Choose the default mode of a model, and the search of each mode, on development data.

    Args:
        recognizer: the model; its stored decoding plays no part.
        dev: a manifest, or its cuts; at most `MOST_SECONDS` of them are used.
        language_model: file of a language model to try. Default: the model's own, if it has one.
        modes: to choose from. Default: those of `TUNED_MODES` that the model has, and `attention`
            with a pretrained decoder.
        name: of the data, for `DecodingConfig.chosen_on`. Default: the file name of the manifest.
        progress: called with (done, total) in per cent.
        encode: runs the encoders of the model; None is `recognizer.encode`.
        favoured: becomes the default mode unless another makes fewer errors, not by chance.

    Raises:
        ManifestError: the data cannot be read, or have no text.
        ModelError: the language model does not fit, or the model does not have a mode.
    """
    cuts = list(load_manifest(dev) if isinstance(dev, str) else dev)
    usual = DECODE_MODES if recognizer.pretrained else TUNED_MODES
    found = [mode for mode in modes or usual if modes or mode in recognizer.modes]
    name = name or (Path(dev).name if isinstance(dev, str) else "development data")
    language_model = language_model or recognizer.language_model
    run_encoders = encode or (lambda batch: recognizer.encode([one.samples for one in batch]))
    tuning = _Tuning(recognizer, found, language_model, progress, run_encoders)
    tuning.read(
        _spread(cuts, MOST_DECODED_SECONDS if recognizer.pretrained else MOST_SECONDS), name
    )
    return tuning.run(name, favoured)


@dataclass
class _Tuning:
    """A tuning and the encoded data."""

    recognizer: Recognizer
    modes: Sequence[DecodeMode]
    language_model: Path | None
    progress: Callable[[int, int], None]
    encode: Encode
    failed: list[KeyframeError] = field(default_factory=list)
    batches: list[EncodedAudio] = field(default_factory=list)
    references: list[list[str]] = field(default_factory=list)
    encoding_seconds: float = 0.0

    def __post_init__(self) -> None:
        for mode in self.modes:
            self.recognizer.search(mode)
        self._rows: list[Row] = []
        self._scored: list[list[Scored]] = []
        weighted = RecognitionOptions(
            "ctc",
            language_model=self.language_model,
            language_model_weight=1.0,
            token_bonus=0.0,
            no_language_model=self.language_model is None,
        )
        self._fusion = self.recognizer.fusion(weighted)

    @property
    def greedy_modes(self) -> list[DecodeMode]:
        """Modes of the model that decode well without a search: `attention` if pretrained."""
        known = GREEDY_MODES if self.recognizer.pretrained else FRAME_MODES
        return [mode for mode in known if mode in self.recognizer.modes]

    def read(self, cuts: Sequence[Cut], name: str) -> None:
        """Encode the data, and score candidates."""
        form = self.recognizer.config.text_form
        normalise = normaliser(form)
        for batch in read_batches(name, cuts, self.failed, self._reading):
            started = time.perf_counter()
            audio = self.encode(batch)
            self.encoding_seconds += time.perf_counter() - started
            self.add(audio, [split_units(normalise(text(one.cut)), form) for one in batch])
        if not any(self.references):
            raise ManifestError(f"{name}: no recording has a text; add texts to the manifest")

    def add(self, audio: EncodedAudio, references: Sequence[list[str]]) -> None:
        """Score candidates of a batch; `references` are the units of each text."""
        self._scored += scored_candidates(self.recognizer, audio, references, self._fusion)
        self.batches.append(audio)
        self.references += references

    def run(self, name: str, favoured: DecodeMode | None = None) -> Tuned:
        """Choose, from what was read."""
        self._pool = CandidatePool(self._scored)
        greedy = [self._decoded(mode, SearchConfig(beam=1)) for mode in self.greedy_modes]
        best_greedy = min(greedy, key=_total)
        chosen: dict[DecodeMode, Row] = {row.mode: row for row in greedy}
        for step, mode in enumerate(self.modes):
            self._progress(HALF + HALF * step // len(self.modes))
            rows = [self._decoded(mode, search) for search in self._searches(mode)]
            chosen[mode] = self._preferred([*(row for row in greedy if row.mode == mode), *rows])
        for mode in sorted(chosen, key=lambda mode: _rank(chosen[mode]))[:WIDENED_MODES]:
            narrow = chosen[mode]
            if narrow.search.beam != 1 and not self._is_slow(mode):
                wider = narrow.search.model_copy(update={"beam": WIDER_BEAM})
                chosen[mode] = self._preferred([narrow, self._decoded(mode, wider)])
        best = min(chosen.values(), key=_rank)
        if not self._gains(best.errors, best_greedy.errors):
            best = best_greedy
            chosen[best.mode] = best
        if favoured in chosen and not self._gains(best.errors, chosen[favoured].errors):
            best = chosen[favoured]
        self._progress(2 * HALF)
        searches = {mode: row.search for mode, row in chosen.items()}
        uses = any(search.language_model for search in searches.values())
        used = self.language_model if uses else None
        unit = self.recognizer.config.text_form.unit
        rate = f"{100 * best.rate:.1f} % {UNIT_NAMES[unit]}"
        decoding = DecodingConfig(
            mode=best.mode,
            greedy=cast(GreedyMode, best_greedy.mode),
            searches=searches,
            language_model=None if used is None else _file_name(used, self.recognizer),
            chosen_on=f"{name}, {len(self.references)} recordings: {rate}",
        )
        count = len(self.references)
        return Tuned(decoding, self._rows, used, UNIT_NAMES[unit], count, self.failed)

    def _searches(self, mode: DecodeMode) -> list[SearchConfig]:
        """Return the searches of a mode that are worth decoding, the plainer first."""
        plain = SearchConfig(beam=DECODER_BEAM if self._is_slow(mode) else DEFAULT_BEAM)
        if mode == "attention":
            return [plain] if mode in self.greedy_modes else [SearchConfig(beam=1), plain]
        without = self._weighed(mode, plain, _grid(mode, plain))
        found = [] if mode in FRAME_MODES else [without]
        if self.language_model is not None:
            usual = plain.model_copy(update=USUAL)
            weighed = self._weighed(mode, usual, _grid(mode, usual))
            if self._gains(self._pool.errors(mode, weighed), self._pool.errors(mode, without)):
                # both, because a search with high weights may lose what ranking again finds
                found += [usual] if weighed == usual else [usual, weighed]
        return found

    def _is_slow(self, mode: DecodeMode) -> bool:
        """True if a pretrained decoder searches in this mode."""
        return self.recognizer.pretrained is not None and mode in ("attention", "rescore")

    def _weighed(
        self, mode: DecodeMode, usual: SearchConfig, grid: dict[tuple[int, ...], SearchConfig]
    ) -> SearchConfig:
        """Return the best search of a grid, or the usual one if that is hardly worse."""
        pool = self._pool
        errors = {place: pool.errors(mode, search) for place, search in grid.items()}
        totals = {place: int(each.sum()) for place, each in errors.items()}

        def around(place: tuple[int, ...]) -> float:
            near = itertools.product(*[(one - 1, one, one + 1) for one in place])
            return float(np.mean([totals[one] for one in near if one in totals]))

        best = min(grid, key=lambda place: (around(place), totals[place]))
        return grid[best] if self._gains(errors[best], pool.errors(mode, usual)) else usual

    def _preferred(self, rows: Sequence[Row]) -> Row:
        """Return the first row that no other gains on; rows are in the order of preference."""
        best = min(rows, key=_total)
        return next(row for row in rows if not self._gains(best.errors, row.errors))

    def _gains(self, one: Counts, other: Counts) -> bool:
        """True if the errors (N,) of one setting are fewer than those of another, not by chance."""
        fewer = other - one
        chance = float(np.std(fewer) * np.sqrt(len(fewer)))
        return float(fewer.sum()) > max(chance, LEAST_GAIN * sum(map(len, self.references)))

    def _decoded(self, mode: DecodeMode, search: SearchConfig) -> Row:
        """Decode the data as they would be in use."""
        options = options_of(mode, search, self.language_model)
        form = self.recognizer.config.text_form
        normalise = normaliser(form)
        started = time.perf_counter()
        texts = [
            found.text for audio in self.batches for found in self.recognizer.decode(audio, options)
        ]
        seconds = self.encoding_seconds + time.perf_counter() - started
        pairs = zip(self.references, texts, strict=True)
        errors = [edit_distance(one, split_units(normalise(two), form)) for one, two in pairs]
        audio_seconds = sum(sum(audio.seconds) for audio in self.batches)
        units = sum(map(len, self.references))
        counts = np.array(errors, dtype=np.int64)
        row = Row(mode, search, counts, int(counts.sum()) / units, seconds / audio_seconds)
        self._rows.append(row)
        return row

    def _reading(self, done: int, total: int) -> None:
        self._progress(HALF * done // total)

    def _progress(self, done: int) -> None:
        self.progress(done, 2 * HALF)


def _file_name(language_model: Path, recognizer: Recognizer) -> str:
    """Return the name of a language model in the model folder; the own one keeps its name."""
    if language_model == recognizer.language_model:
        return language_model.name
    return LANGUAGE_MODEL_STEM + language_model.suffix


def _total(row: Row) -> int:
    return int(row.errors.sum())


def _rank(row: Row) -> tuple[int, bool, int]:
    """Sort key of settings, the better first, then the faster, without measured times."""
    return _total(row), row.search.language_model, DECODE_MODES.index(row.mode)


def options_of(
    mode: DecodeMode, search: SearchConfig, language_model: Path | None
) -> RecognitionOptions:
    """Return the options that give this search with any model."""
    if mode in FRAME_MODES and search.beam == 1:
        return RecognitionOptions(mode, greedy=True)
    return RecognitionOptions(
        mode,
        beam=search.beam,
        language_model=language_model if search.language_model else None,
        no_language_model=not search.language_model,
        language_model_weight=search.language_model_weight,
        token_bonus=search.token_bonus,
        ctc_weight=search.ctc_weight,
        decoder_weight=search.decoder_weight,
    )


def _grid(mode: DecodeMode, usual: SearchConfig) -> dict[tuple[int, ...], SearchConfig]:
    """Return the searches of a mode by their places on its axes, with the values of `usual`."""
    axes: dict[str, tuple[float, ...]] = {}
    if mode == "joint":
        axes["ctc_weight"] = CTC_WEIGHTS
    if mode == "rescore":
        axes["decoder_weight"] = DECODER_WEIGHTS
    if usual.language_model:
        axes["language_model_weight"] = LANGUAGE_MODEL_WEIGHTS
        axes["token_bonus"] = TOKEN_BONUSES
    return {
        tuple(place for place, _ in point): usual.model_copy(
            update=dict(zip(axes, (value for _, value in point), strict=True))
        )
        for point in itertools.product(*(enumerate(values) for values in axes.values()))
    }


def _spread(cuts: Sequence[Cut], most: float) -> list[Cut]:
    """Return at most so many seconds of the cuts, spread evenly."""
    seconds = sum(cut.duration for cut in cuts)
    step = max(1.0, seconds / most)
    return [cuts[int(place * step)] for place in range(int(len(cuts) / step))]
