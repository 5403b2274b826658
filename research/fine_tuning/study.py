"""`fine-tuning` studies: models fine-tuned on some minutes of speech, as a user would do it.

Each case runs `fine_tune` with its defaults; what is drawn from a corpus, and the training, depend
on the seed. A model is also measured as it was before.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from lhotse.cut import Cut

from keyframe_asr.config.fine_tuning import PLANS
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import load_manifest, save_manifest, speaker, text
from keyframe_asr.fine_tuning.options import FineTuneOptions
from keyframe_asr.fine_tuning.run import FineTuned, fine_tune
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import load
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.text.forms import normaliser
from research.definition import FineTuningCaseConfig, FineTuningDefinition, SpeechConfig
from research.measurement import Measurement
from research.recognition import recognise, weights_digest

FIRST_SEED = 1

MODES: tuple[DecodeMode, ...] = ("axe", "ctc", "joint")
"""Decode modes that are measured, as far as a model has them, besides its default."""


class FineTuningStudy:
    """A fine-tuning study: one measurement per case and seed, and one of each model before.

    Args:
        definition: what to fine-tune.
        folder: folder of the runs.
        device: device for measuring the models; training chooses its device itself.
    """

    def __init__(
        self, definition: FineTuningDefinition, folder: Path, device: str | None = None
    ) -> None:
        self.definition, self.folder = definition, folder
        self._device = device
        self._digest = functools.cache(weights_digest)
        self._earlier = functools.cache(self._recognised_before)

    def measurements(self, seeds: int) -> list[Measurement]:
        """Return the models as they were, then all cases with the first seed, and so on."""
        numbers = range(FIRST_SEED, FIRST_SEED + seeds)
        first = {before_name(case): case for case in reversed(self.definition.cases)}
        return [
            *(self._before(first[name]) for name in reversed(first)),
            *(self._measurement(case, seed) for seed in numbers for case in self.definition.cases),
        ]

    def _before(self, case: FineTuningCaseConfig) -> Measurement:
        return Measurement(
            name=before_name(case),
            variant=case.name,
            setting={"test": case.test.model_dump(), "weights": self._digest(case.model)},
            measure=lambda: self._recognised(case.model, case.test, (), FIRST_SEED),
        )

    def _measurement(self, case: FineTuningCaseConfig, seed: int) -> Measurement:
        return Measurement(
            name=measurement_name(case, seed),
            variant=case.name,
            setting={
                "case": case.model_dump(mode="json", exclude={"label", "group"}),
                "seed": seed,
                "weights": self._digest(case.model),
                "plans": _plans(),
            },
            measure=functools.partial(self._measure, case, seed),
            work=case.train.minutes or 60.0,
        )

    def _measure(self, case: FineTuningCaseConfig, seed: int) -> dict[str, Any]:
        given = [cut for cuts in _given(case, seed).values() for cut in cuts]
        texts = [text(cut) for cut in given]
        done, used = self.fine_tune(case, seed)
        found = self._recognised(str(done.model), case.test, texts, seed)
        found |= used | {
            "minutes": sum(cut.duration for cut in given) / 60,
            "recordings": len(given),
            "report": {
                key: done.report.get(key)
                for key in ("recordings", "hours", "start_is_kept", "minutes")
            },
            "forgetting": None,
        }
        if case.forgetting is not None and seed == FIRST_SEED:
            found["forgetting"] = {
                "before": self._earlier(case.model, case.forgetting.model_dump_json()),
                "after": self._recognised(str(done.model), case.forgetting, (), FIRST_SEED, ()),
            }
        return found

    def fine_tune(self, case: FineTuningCaseConfig, seed: int) -> tuple[FineTuned, dict[str, Any]]:
        """Fine-tune, unless that is done already; returns the seconds that it took, too.

        Raises:
            KeyframeError: as in `fine_tuning.run.fine_tune`.
        """
        described = json.dumps(self._measurement(case, seed).setting)
        mark = hashlib.blake2b(described.encode(), digest_size=4).hexdigest()
        folder = self.folder / f"{case.name}-seed{seed}-{mark}"
        folder.mkdir(parents=True, exist_ok=True)
        encodings = self.folder.parent / "encodings"  # shared by all studies
        options = FineTuneOptions(
            replay=case.replay,
            overrides=[f"seed={seed}", f"training.encodings={encodings}", *case.set],
            resume=True,
        )
        given = _given(case, seed)
        seconds = folder / "seconds.json"
        with FileLock(folder / ".study.lock"):  # another process may measure the same study
            train, dev = (_saved(cuts, folder / name) for name, cuts in given.items())
            wall, cpu = time.perf_counter(), time.process_time()
            assert train is not None
            done = fine_tune(case.model, train, dev, out=folder / "run", options=options)
            if not seconds.is_file():
                used = {
                    "fine_tuning_seconds": round(time.perf_counter() - wall, 1),
                    "fine_tuning_cpu_seconds": round(time.process_time() - cpu, 1),
                }
                write_whole(seconds, json.dumps(used))
        return done, json.loads(seconds.read_text(encoding="utf-8"))

    def _recognised(
        self,
        model: str,
        speech: SpeechConfig,
        training: Iterable[str],
        seed: int,
        modes: Sequence[DecodeMode] = MODES,
    ) -> dict[str, Any]:
        """Recognise in the default and other modes, as the model is shipped.

        `seen` marks texts of the training.
        """
        recognizer = load(model, self._device)
        cuts = list(chosen(speech, seed))
        references = [text(cut) for cut in cuts]
        recordings = [read_samples(cut) for cut in cuts]
        default = recognizer.default_mode
        chosen_modes = [mode for mode in recognizer.modes if mode in (*modes, default)]
        found = recognise(recognizer, recordings, references, chosen_modes, as_shipped=True)
        normalise = normaliser(recognizer.config.text_form)
        known = {normalise(one) for one in training}
        return found | {
            "default": default,
            "seen": [normalise(one) in known for one in references],
        }

    def _recognised_before(self, model: str, speech: str) -> dict[str, Any]:
        """The same of a model as it was, by the JSON of the recordings."""
        named = SpeechConfig.model_validate_json(speech)
        return self._recognised(model, named, (), FIRST_SEED, ())


def chosen(speech: SpeechConfig, seed: int) -> list[Cut]:
    """Return the cuts that a definition names, in the order of the manifest or as drawn.

    Raises:
        ManifestError: the manifest cannot be read.
    """
    cuts = [
        cut
        for cut in load_manifest(speech.manifest)
        if not speech.speakers or speaker(cut) in speech.speakers
    ]
    count: Counter[str] = Counter()
    taken = set()
    for cut in sorted(cuts, key=lambda one: one.id):
        if count[speaker(cut)] % speech.of in speech.takes:
            taken.add(cut.id)
        count[speaker(cut)] += 1
    cuts = [cut for cut in cuts if cut.id in taken]
    if speech.minutes is None:
        return cuts
    random.Random(seed).shuffle(cuts)
    drawn, seconds = [], 0.0
    for cut in cuts:
        seconds += cut.duration
        if seconds > 60 * speech.minutes:
            break
        drawn.append(cut)
    return drawn


def _given(case: FineTuningCaseConfig, seed: int) -> dict[str, list[Cut]]:
    """What is given to fine-tuning; the development set is empty if it takes it from the rest."""
    dev = [] if case.dev is None else chosen(case.dev, seed)
    return {"train.jsonl.gz": chosen(case.train, seed), "dev.jsonl.gz": dev}


def _saved(cuts: list[Cut], path: Path) -> Path | None:
    """Write a manifest, unless it is there; None if there are no recordings."""
    if cuts and not path.is_file():
        save_manifest(cuts, path)
    return path if cuts else None


def measurement_name(case: FineTuningCaseConfig, seed: int) -> str:
    """Return the name of the measurement of a case and seed."""
    return f"{case.name}, seed {seed}"


def before_name(case: FineTuningCaseConfig) -> str:
    """Return the name of the measurement of a case's model before; cases may share it."""
    described = json.dumps([case.model, case.test.model_dump()])
    mark = hashlib.blake2b(described.encode(), digest_size=2).hexdigest()
    return f"{Path(case.model).name} before, {mark}"


def _plans() -> str:
    """Digest of the table of plans, on which the results depend."""
    described = json.dumps([plan.model_dump(mode="json") for plan in PLANS])
    return hashlib.blake2b(described.encode(), digest_size=8).hexdigest()
