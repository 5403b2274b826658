"""Fill in what a recipe leaves to the folders of pretrained parts: their architectures."""

from __future__ import annotations

from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.io.pretrained_decoder import decoder_architecture
from keyframe_asr.io.pretrained_source import encoder_architecture


def with_architecture(recipe: Recipe) -> Recipe:
    """Fill in the architectures of the recipe's pretrained encoder and decoder, if it has them.

    Raises:
        ModelError: a source cannot be found or read, or belongs to another family.
        RecipeError: decoder and encoder do not fit each other.
    """
    model = recipe.model
    encoder, decoder = model.pretrained, model.pretrained_decoder
    if encoder is not None and encoder.architecture is None:
        found = encoder_architecture(encoder)
        encoder = encoder.model_copy(update={"architecture": found})
        model = model.model_copy(update={"pretrained": encoder})
    if decoder is not None and decoder.architecture is None:
        found = decoder_architecture(decoder)
        decoder = decoder.model_copy(update={"architecture": found})
        model = model.model_copy(update={"decoder": decoder})
    if decoder is not None:
        model = parse_config(ModelConfig, model.model_dump(mode="json"), recipe.name)
    return recipe if model is recipe.model else recipe.model_copy(update={"model": model})
