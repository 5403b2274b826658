"""Model folder of a stage: averaged weights, measurements on the dev set, and a model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from lhotse.cut import Cut

from keyframe_asr.config.calibration import Confidences
from keyframe_asr.config.model import ModelConfig, ModelFolderConfig
from keyframe_asr.config.recipe import Recipe, StageConfig
from keyframe_asr.data.feature_store import Store
from keyframe_asr.data.manifest import text
from keyframe_asr.decoding.confidence import fit_scaling, right_units
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.inference.torch_network import encoded_batch
from keyframe_asr.io.hub import is_hub_name
from keyframe_asr.io.model_card import ModelCard, render_card
from keyframe_asr.io.model_folder import save_model_folder
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.timing import encoder_frame_seconds
from keyframe_asr.training.checkpoint import averaged_weights, load_weights
from keyframe_asr.training.epoch_data import DataSource
from keyframe_asr.training.objective import apply_stage
from keyframe_asr.training.run_data import RunData

MIN_TOKENS = 30
"""Fewest tokens with known times needed to measure the emission delay."""

MAX_UTTERANCES = 200
"""Most dev utterances used to calibrate confidences."""


def save_stage_model(
    stage: StageConfig,
    network: KeyframeNetwork,
    source: DataSource,
    folder: Path,
    store: Store | None = None,
) -> None:
    """Load the averaged weights of a stage into `network` and write its model folder.

    Args:
        stage: stage of the recipe.
        network: network of the run.
        source: recipe and data of the run; the dev set is used for measurements.
        folder: folder of the stage.
        store: features of the dev set; None computes them.
    """
    recipe, tokenizer = source.recipe, source.data.tokenizer
    measured = network, tokenizer, store or source.features, source.data.dev
    network.load_state_dict(load_weights(averaged_weights(folder)))
    apply_stage(network, stage)
    config = ModelFolderConfig(
        name=f"{recipe.name}-{stage.name}",
        language=recipe.language,
        text_form=recipe.form,
        vocab_size=tokenizer.vocab_size,
        keyframes=stage.keyframes,
        fusion=stage.fusion,
        emission_delay_seconds=measure_emission_delay(*measured),
        confidences=measure_confidences(*measured),
        features=recipe.features,
        model=_with_languages(recipe, source.data),
    )
    card = render_card(_card(recipe, stage, folder))
    own = source.data.decoder_tokenizer
    save_model_folder(model_folder(folder), network, tokenizer, config, card, decoder_tokenizer=own)


def _with_languages(recipe: Recipe, data: RunData) -> ModelConfig:
    """The model; a pretrained decoder that chooses no language gets those of the training cuts."""
    decoder, tokenizer = recipe.model.pretrained_decoder, data.decoder_tokenizer
    if decoder is None or tokenizer is None or decoder.language or decoder.languages:
        return recipe.model
    named = Counter(cut.supervisions[0].language for cuts in data.train for cut in cuts)
    known = [one for one, _ in named.most_common() if one and tokenizer.knows(one)]
    several = list(dict.fromkeys([recipe.language, *known]))
    languages = several if len(several) > 1 else []
    return recipe.model.model_copy(
        update={"decoder": decoder.model_copy(update={"languages": languages})}
    )


def model_folder(folder: Path) -> Path:
    """Path of the model in the folder of a stage."""
    return folder / "model"


def _card(recipe: Recipe, stage: StageConfig, folder: Path) -> ModelCard:
    stages = _ancestry(recipe, stage)
    common = [recipe.data.prepared or recipe.data.train, *recipe.data.more_train]
    manifests = dict.fromkeys(name for one in stages for name in one.manifests or common)
    pretrained = recipe.model.pretrained
    return ModelCard(
        name=f"{recipe.name}-{stage.name}",
        title=f"{recipe.name}-{stage.name}",
        language=recipe.language,
        summary=f"Recognises speech of the language `{recipe.language}`. Trained by `keyframe "
        f"train` with the recipe `{recipe.name}`.",
        training=[
            "Data: " + ", ".join(f"`{Path(name).name}`" for name in manifests) + ".",
            "Stages: " + ", then ".join(_described(one) for one in stages) + ".",
        ],
        datasets=list(dict.fromkeys(_corpus(name) for name in manifests)),
        base_model=pretrained.source if pretrained and is_hub_name(pretrained.source) else None,
        used_as=str(model_folder(folder)),
    )


def _corpus(manifest: str) -> str:
    """The folder of a manifest, or a prepared folder, by which its corpus is called."""
    path = Path(manifest.partition(":")[0])
    return (path.parent.resolve() if path.suffix else path).name


def _described(stage: StageConfig) -> str:
    parts = f", {' and '.join(stage.reinitialise)} re-initialised" if stage.reinitialise else ""
    return f"{stage.name} (at most {stage.epochs} epochs{parts})"


def _ancestry(recipe: Recipe, stage: StageConfig) -> list[StageConfig]:
    """Return the stage and all stages it builds on, in order of training."""
    names = [one.name for one in recipe.stages]
    place = names.index(stage.name)
    found = [stage]
    while place > 0:
        start = recipe.stages[place].start_from
        place = names.index(start) if start is not None else place - 1
        found.insert(0, recipe.stages[place])
    return found


@torch.inference_mode()
def measure_emission_delay(
    network: KeyframeNetwork, tokenizer: Tokenizer, store: Store, cuts: Iterable[Cut]
) -> float:
    """Measure the median of (time of a spike - start of its token) in seconds; 0 if unknown.

    Uses utterances with word times that are recognised correctly, with one token per word.
    """
    training = network.training
    network.eval()
    delays = [
        delay
        for cut in cuts
        if (words := _word_starts(cut))
        for delay in _delays(network, tokenizer, store, cut, words)
    ]
    network.train(training)
    return round(median(delays), 3) if len(delays) >= MIN_TOKENS else 0.0


def _word_starts(cut: Cut) -> list[tuple[str, float]]:
    alignment = cut.supervisions[0].alignment or {}
    return [(item.symbol, item.start) for item in alignment.get("word", [])]


def _delays(
    network: KeyframeNetwork,
    tokenizer: Tokenizer,
    store: Store,
    cut: Cut,
    words: list[tuple[str, float]],
) -> list[float]:
    device = network.normalisation.mean.device
    features = store(cut).to(device)
    lengths = torch.tensor([len(features)], device=device)
    encoded = encoded_batch(network.encode(features[None], lengths, pre_encoded=store.pre_encoded))
    greedy = greedy_aligned if network.keyframes_enabled else greedy_ctc
    found = greedy(encoded.head_log_probs, encoded.keyframe_lengths)[0]
    if [tokenizer.decode([token]) for token in found.tokens] != [word for word, _ in words]:
        return []
    frames = encoded.keyframes[0].tolist()
    seconds = encoder_frame_seconds(network.subsampling.factor)
    return [
        frames[position] * seconds - start
        for position, (_, start) in zip(found.positions, words, strict=True)
    ]


@torch.inference_mode()
def measure_confidences(
    network: KeyframeNetwork, tokenizer: Tokenizer, store: Store, cuts: Iterable[Cut]
) -> Confidences:
    """Calibrate the confidences of greedy decode modes; `keyframe calibrate` does the others."""
    training = network.training
    network.eval()
    device = network.normalisation.mean.device
    values: dict[str, list[float]] = {"axe": [], "ctc": []}
    right: dict[str, list[bool]] = {"axe": [], "ctc": []}
    for cut in islice(cuts, MAX_UTTERANCES):
        features = store(cut).to(device)
        lengths = torch.tensor([len(features)], device=device)
        encoded = encoded_batch(
            network.encode(features[None], lengths, pre_encoded=store.pre_encoded)
        )
        head = encoded.head_log_probs, encoded.keyframe_lengths
        if network.keyframes_enabled:
            inter = encoded.inter_log_probs, encoded.frame_lengths
            found = {"axe": greedy_aligned(*head)[0], "ctc": greedy_ctc(*inter)[0]}
        else:
            found = {"ctc": greedy_ctc(*head)[0]}
        target = tokenizer.encode(text(cut))
        for mode, hypothesis in found.items():
            values[mode] += hypothesis.confidences
            right[mode] += right_units(target, hypothesis.tokens)
    network.train(training)
    axe, ctc = (fit_scaling(np.array(values[mode]), np.array(right[mode])) for mode in values)
    return {"axe": axe, "ctc": ctc} if network.keyframes_enabled else {"ctc": ctc}
