"""Bad recipes are refused before any work, in one line that names the key and the nearest one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.errors import refused
from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.errors import RecipeError


def good_recipe() -> dict[str, Any]:
    """The three stages, everything else at its default."""
    baseline = {"inter_ctc": 0.09, "head": 0.21, "head_loss": "ctc"}
    return {
        "name": "test",
        "data": {"train": "train.tsv", "dev": "dev.tsv"},
        "stages": [
            {"name": "baseline", "epochs": 2, "losses": baseline},
            {"name": "fusion", "epochs": 2, "fusion": True, "losses": baseline},
            {
                "name": "keyframes",
                "epochs": 2,
                "fusion": True,
                "keyframes": True,
                "losses": {"head_loss": "axe"},
            },
        ],
    }


def changed(key: str, value: Any) -> dict[str, Any]:
    """The good recipe with one key, written with dots, set to `value`."""
    recipe = good_recipe()
    node: Any = recipe
    *parents, last = key.split(".")
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
    node[last] = value
    return recipe


def refusal(data: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_config(Recipe, data, "recipe.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("recipe.yaml: ")
    return message


def write(folder: Path, data: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_good_recipe_gets_the_defaults_of_the_paper() -> None:
    recipe = parse_config(Recipe, good_recipe(), "recipe.yaml")
    assert recipe.model.encoder.layers == 12
    assert recipe.model.encoder.keyframe_layer == 6
    assert recipe.model.encoder.dim == 256
    losses = recipe.stages[2].losses
    assert (losses.inter_ctc, losses.head, losses.decoder) == (0.2, 0.1, 0.7)
    assert [stage.name for stage in recipe.stages] == ["baseline", "fusion", "keyframes"]


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("sede", "seed"),
        ("model.encodr", "encoder"),
        ("model.encoder.layer", "layers"),
        ("model.encoder.keyframes_layer", "keyframe_layer"),
        ("model.decoder.lyers", "layers"),
        ("model.fusion.windows", "window"),
        ("stages.1.epoch", "epochs"),
        ("stages.2.losses.skip_target_penality", "skip_target_penalty"),
        ("training.batch_second", "batch_seconds"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    message = refusal(changed(key, 1))
    assert f"'{key}'" in message and f"'{nearest}'" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "one"),
        ("seed", 1.5),
        ("seed", 2**70),
        ("training.threads", 100_000),
        ("training.workers", 100_000),
        ("seed", True),
        ("name", 3),
        ("data.train", ["a", "b"]),
        ("model.encoder.layers", "12"),
        ("model.encoder.dropout", 1.0),
        ("model.encoder", 12),
        ("model.subsampling.factor", 6),
        ("model.fusion.window", 4),
        ("model.fusion.left_only", 1),
        ("augment.speeds", []),
        ("augment.speeds.0", 0.0),
        ("augment.speeds.0", 0.001),
        ("stages", {}),
        ("stages", []),
        ("stages.0.learning_rate", float("inf")),
        ("stages.0.learning_rate", True),
        ("stages.1.losses.head_loss", "rnnt"),
        ("training.precision", "float8"),
    ],
)
def test_wrong_type_or_value_names_the_key_and_what_was_found(key: str, value: Any) -> None:
    data = good_recipe() | {"augment": {"speeds": [1.0]}}
    node: Any = data
    *parents, last = key.split(".")
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
    node[int(last) if isinstance(node, list) else last] = value
    message = refusal(data)
    assert f"'{key}'" in message
    assert repr(value) in message


@pytest.mark.parametrize("key", ["name", "data.dev", "stages", "stages.0.losses"])
def test_missing_key_is_named(key: str) -> None:
    data = good_recipe()
    node: Any = data
    *parents, last = key.split(".")
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node[parent]
    del node[last]
    assert f"'{key}': " in refusal(data)


def test_all_problems_are_told_at_once() -> None:
    data = changed("sede", 1)
    data["stages"][0]["epochs"] = 0
    message = refusal(data)
    assert "'sede'" in message
    assert "'stages.0.epochs'" in message


def test_layer_split_larger_than_the_layers() -> None:
    message = refusal(changed("model.encoder", {"layers": 4, "keyframe_layer": 6}))
    assert "'model.encoder': keyframe_layer (6)" in message and "layers (4)" in message


@pytest.mark.parametrize(
    "encoder", [{"dim": 100, "heads": 3}, {"dim": 12, "heads": 4}, {"kernel": 14}]
)
def test_encoder_sizes_that_do_not_fit(encoder: dict[str, int]) -> None:
    message = refusal(changed("model.encoder", encoder))
    assert all(f"{key} ({value})" in message for key, value in encoder.items())


@pytest.mark.parametrize("loss", ["axe", "til"])
def test_length_similar_loss_without_keyframes(loss: str) -> None:
    message = refusal(changed("stages.0.losses.head_loss", loss))
    assert "'baseline'" in message and "head_loss" in message and f"'{loss}'" in message


def test_ctc_on_keyframes() -> None:
    message = refusal(changed("stages.2.losses.head_loss", "ctc"))
    assert "'keyframes'" in message and "head_loss 'ctc'" in message


def test_decoder_loss_without_a_decoder() -> None:
    data = changed("model.decoder", None)
    message = refusal(data)
    assert "'baseline'" in message and "0.7" in message and "model.decoder" in message
    for stage in data["stages"]:
        stage["losses"] = stage["losses"] | {"decoder": 0}
    assert parse_config(Recipe, data, "recipe.yaml").model.decoder is None


@pytest.mark.parametrize(
    ("model", "part", "key"),
    [
        ({}, "conditioning", "self_conditioning"),
        ({"decoder": None}, "decoder", "model.decoder"),
    ],
)
def test_what_is_not_there_cannot_be_reinitialised(
    model: dict[str, Any], part: str, key: str
) -> None:
    data = changed("stages.2.reinitialise", [part]) | {"model": model}
    for stage in data["stages"]:
        stage["losses"] = stage["losses"] | {"decoder": 0}
    message = refusal(data)
    assert "'keyframes'" in message and f"'{part}'" in message and key in message
    data["stages"][2]["reinitialise"] = ["encoder2", "head"]
    parse_config(Recipe, data, "recipe.yaml")


@pytest.mark.parametrize("part", ["inter_ctc", "encoder1", "normalisation", "encoder3"])
def test_what_chooses_the_keyframes_cannot_be_reinitialised(part: str) -> None:
    message = refusal(changed("stages.2.reinitialise", [part]))
    assert "stages.2.reinitialise" in message
    assert "'encoder2'" in message


def test_two_stages_of_one_name() -> None:
    assert "baseline, baseline, keyframes" in refusal(changed("stages.1.name", "baseline"))


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_recipe_that_is_no_mapping(data: Any) -> None:
    assert repr(data) in refusal(data)


def test_recipe_cannot_be_changed_afterwards() -> None:
    recipe = parse_config(Recipe, good_recipe(), "recipe.yaml")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 2


def test_load_recipe_reads_exponents_as_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, good_recipe())
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("epochs: 2", "epochs: 2\n  learning_rate: 2e-3", 1), "utf-8")
    assert load_recipe(path).stages[0].learning_rate == 0.002


def test_a_recipe_survives_being_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse_config(Recipe, good_recipe(), "recipe.yaml")
    write(tmp_path, recipe.model_dump())
    monkeypatch.chdir(tmp_path)  # where paths in the file and those of the recipe are the same
    assert load_recipe("recipe.yaml") == recipe


def test_overrides(tmp_path: Path) -> None:
    overrides = [
        "seed=7",
        "model.encoder.layers=4",
        "model.encoder.keyframe_layer=2",
        "model.decoder.layers=1",
        "stages.1.learning_rate=1e-4",
        "stages.2.losses.head_loss=til",
        "augment.speeds=[1.0]",
        "data.test=a=b.tsv",
        "model.keyframes.blank_threshold=null",
    ]
    data = good_recipe()
    data["model"] = {"decoder": None}
    recipe = load_recipe(write(tmp_path, data), overrides)
    assert recipe.seed == 7
    assert (recipe.model.encoder.layers, recipe.model.encoder.keyframe_layer) == (4, 2)
    assert recipe.model.decoder is not None
    assert recipe.model.decoder.layers == 1
    assert recipe.stages[1].learning_rate == 1e-4
    assert recipe.stages[2].losses.head_loss == "til"
    assert recipe.augment.speeds == [1.0]
    assert recipe.data.test == "a=b.tsv"
    assert recipe.model.keyframes.blank_threshold is None


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("seed", ["key=value"]),
        ("sede=1", ["'sede'", "'seed'"]),
        ("model.encodr.layers=1", ["'model.encodr'", "'encoder'"]),
        ("stages.3.epochs=1", ["'3'", 3]),
        ("stages.first.epochs=1", ["'first'", 3]),
        ("stages.3={}", ["'3'", 3]),
        ("name.first=1", ["'first'", "'test'"]),
        ("name=[", ["name=[", "YAML"]),
        ("seed=", ["'seed'"]),
        ("model.encoder.layers=six", ["'model.encoder.layers'", "'six'"]),
    ],
)
def test_bad_override_is_refused(tmp_path: Path, override: str, named: list[object]) -> None:
    with refused(RecipeError, *named):
        load_recipe(write(tmp_path, good_recipe()), [override])


def test_an_old_name_of_a_key_is_read_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, changed("stages.2.forget", ["head"]))
    assert [stage.reinitialise for stage in load_recipe(path).stages] == [[], [], ["head"]]
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    for named in (str(path), "'stages.2.forget'", "'reinitialise: ['head']'"):
        assert named in note
    load_recipe(path)
    assert capsys.readouterr().err == "", "once is enough"


@pytest.mark.parametrize(
    ("present", "override"),
    [
        ("reinitialise", "stages.2.forget=[encoder2]"),
        ("forget", "stages.2.reinitialise=[encoder2]"),
        ("forget", "stages.2.forget=[encoder2]"),
    ],
)
def test_an_override_wins_whichever_name_the_key_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], present: str, override: str
) -> None:
    path = write(tmp_path, changed(f"stages.2.{present}", ["head"]))
    assert load_recipe(path, [override]).stages[2].reinitialise == ["encoder2"]
    assert (str(path) in capsys.readouterr().err) == (present == "forget")


def test_a_key_under_both_of_its_names_is_refused() -> None:
    data = changed("stages.2.forget", ["head"])
    data["stages"][2]["reinitialise"] = ["head"]
    message = refusal(data)
    assert "'stages.2.forget'" in message
    assert "'reinitialise'" in message


@pytest.mark.parametrize(
    "content", [b"", b"name: [", b"\xff\xfe\xff", b"!!python/object:os.system {}"]
)
def test_unreadable_recipe(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with refused(RecipeError, f"{path}: "):
        load_recipe(path)


def test_missing_recipe_and_folder(tmp_path: Path) -> None:
    with refused(RecipeError, f"{tmp_path / 'missing.yaml'}: "):
        load_recipe(tmp_path / "missing.yaml")
    with refused(RecipeError, f"{tmp_path}: "):
        load_recipe(tmp_path)


def test_override_on_an_empty_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with refused(RecipeError, "seed"):
        load_recipe(tmp_path / "recipe.yaml", ["seed=1"])


def test_model_folder_config(tmp_path: Path) -> None:
    data = {"name": "demo", "language": "mandarin", "vocab_size": 30, "keyframes": True}
    config = parse_config(ModelFolderConfig, data | {"fusion": True, "model": {}}, "config.yaml")
    assert load_model_folder_config(write(tmp_path, config.model_dump())) == config
    with refused(RecipeError, "'language'"):
        load_model_folder_config(write(tmp_path, config.model_dump() | {"language": "french"}))


@pytest.mark.parametrize(
    ("language", "form", "tag"),
    [("mandarin", "mandarin", "zh"), ("english", "english-digits", "en"), ("english", None, "en")],
)
def test_older_files_name_language_and_normalisation(
    tmp_path: Path, language: str, form: str | None, tag: str
) -> None:
    old = {"language": language} | ({"normalisation": form} if form else {})
    new = {"language": tag} | ({"text_form": form} if form else {})
    model = {"name": "demo", "vocab_size": 30, "keyframes": True, "fusion": True, "model": {}}
    one, other = (
        parse_config(ModelFolderConfig, model | given, "config.yaml") for given in (old, new)
    )
    assert one == other
    assert (one.language, one.text_form) == (tag, TEXT_FORMS[form or "english"])
    recipe = good_recipe()
    assert parse_config(Recipe, recipe | old, "r.yaml") == parse_config(
        Recipe, recipe | new, "r.yaml"
    )


def test_a_language_of_any_name_has_a_form_of_its_own(tmp_path: Path) -> None:
    data = {"name": "d", "vocab_size": 30, "keyframes": True, "fusion": True, "model": {}}
    config = parse_config(ModelFolderConfig, data | {"language": "de-CH"}, "config.yaml")
    assert (config.language, config.text_form.name) == ("de-CH", "generic")
    own = data | {"language": "de", "text_form": {"alphabet": "abcäöü", "digits": False}}
    config = parse_config(ModelFolderConfig, own, "config.yaml")
    assert config.text_form.alphabet == "abcäöü"
    path = write(tmp_path, config.model_dump(mode="json"))
    assert load_model_folder_config(path) == config


@pytest.mark.parametrize(("lead", "delay"), [(0.155, -0.155), (-0.3, 0.3), (1, -1.0), (0.0, 0.0)])
def test_older_model_folders_name_the_lead_of_spikes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lead: float, delay: float
) -> None:
    data = {"name": "demo", "language": "mandarin", "vocab_size": 30, "keyframes": True}
    data |= {"fusion": True, "model": {}}
    (tmp_path / "new").mkdir()
    new = write(tmp_path / "new", data | {"emission_delay_seconds": delay})
    old = write(tmp_path, data | {"spike_lead_seconds": lead})
    assert load_model_folder_config(old) == load_model_folder_config(new)
    assert str(load_model_folder_config(old).emission_delay_seconds) == str(delay), "and its sign"
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert f"'emission_delay_seconds: {delay}'" in note
    with refused(RecipeError, "'emission_delay_seconds'"):
        load_model_folder_config(write(tmp_path, data | {"spike_lead_seconds": "late"}))
