"""Models of the Hugging Face Hub, fetched from and sent to a server on this machine."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import keyframe_asr
from fixtures.command_line import keyframe, lacking
from fixtures.errors import refused
from fixtures.hub_server import TOKEN, HubServer, running_hub
from fixtures.random_model import noise, random_model, save_random_model
from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.errors import ModelError, PackageError
from keyframe_asr.io.hub import fetch, is_hub_name
from keyframe_asr.io.model_folder import (
    Storage,
    StoredModel,
    find_model,
    load_model_folder,
    save_model_folder,
    shipped_models,
)

constants = pytest.importorskip("huggingface_hub.constants")

AUDIO = noise(1.0)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The server, an empty cache, and nobody logged in."""
    with running_hub() as server:
        # huggingface_hub reads the environment once, when it is imported
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(tmp_path)
        fetch.cache_clear()
        yield server
        fetch.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_random_model(tmp_path / "folders" / "random")


def text(model: str | Path) -> str:
    return keyframe_asr.load(model, "cpu").transcribe(AUDIO).text


def test_a_model_is_fetched_once(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    commit = hub.add("someone/random", folder).commit("main")
    expected = text(folder)
    assert expected and text("someone/random") == expected
    found = find_model("someone/random")
    assert found == tmp_path / "cache" / "models--someone--random" / "snapshots" / str(commit)
    downloads = [one for one in hub.requests if one.startswith("GET") and "resolve" in one]
    fetch.cache_clear()
    assert text("hf://someone/random") == expected
    assert [one for one in hub.requests if one.startswith("GET") and "resolve" in one] == downloads
    ran = keyframe("copy", "someone/random", "--out", tmp_path / "copied")
    assert ran.exit_code == 0 and text(tmp_path / "copied") == expected


def test_revisions(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    hub.add("someone/random", folder)
    other = save_random_model(tmp_path / "folders" / "other", seed=12)
    commit = hub.add("someone/random", other, "second").commit("second")
    assert text("someone/random") != text(other)
    for revision in ("second", commit):
        assert text(f"hf://someone/random@{revision}") == text(other)
    assert text("someone/random@second") == text(other)
    with refused(ModelError, "someone/random@third: "):
        find_model("someone/random@third")


def test_only_files_of_a_model_are_fetched(hub: HubServer, folder: Path) -> None:
    (folder / "weights.pt").write_bytes(pickle.dumps("harmless"))
    (folder / "modeling.py").write_text("raise SystemExit")
    hub.add("someone/random", folder)
    found = {path.name for path in find_model("someone/random").iterdir()}
    assert found == {"config.yaml", "model.safetensors", "tokenizer.txt", "README.md"}


def test_without_a_network_the_cache_is_used(
    hub: HubServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("someone/random", folder)
    expected = text("someone/random")
    for offline, endpoint in ((True, hub.address), (False, "http://127.0.0.1:9")):
        fetch.cache_clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        asked = len(hub.requests)
        assert text("someone/random") == expected
        assert len(hub.requests) == asked
        with refused(ModelError, "someone/other: ", "HF_HUB_OFFLINE" if offline else endpoint):
            find_model("someone/other")


def test_a_cache_that_others_have_filled(
    hub: HubServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "cache" / "models--someone--random"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "blobs").mkdir()
    (place / "snapshots" / commit).mkdir(parents=True)
    for number, path in enumerate(folder.iterdir()):
        shutil.copy(path, place / "blobs" / str(number))
        (place / "snapshots" / commit / path.name).symlink_to(f"../../blobs/{number}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert text("someone/random") == text(folder)
    assert hub.requests == []


def test_a_process_of_its_own_reads_the_environment(
    hub: HubServer, folder: Path, tmp_path: Path
) -> None:
    hub.add("someone/random", folder)
    program = "from keyframe_asr.io.model_location import find_model; print(find_model('a/random'))"
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    program = program.replace("a/random", "someone/random")
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith(str(tmp_path / "home"))


def test_a_local_folder_of_the_same_name_wins(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    hub.add("someone/random", folder)
    local = save_random_model(tmp_path / "someone" / "random", seed=12)
    assert find_model("someone/random") == Path("someone/random")
    assert text("someone/random") == text(local)
    assert text("hf://someone/random") == text(folder)


def test_a_repository_that_is_not_there(hub: HubServer) -> None:
    with refused(ModelError, "someone/nothing: ", hub.address):
        find_model("someone/nothing")


def test_a_private_repository(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    hub.add("someone/random", folder).private = True
    with refused(ModelError, "someone/random: ", "HF_TOKEN"):
        find_model("someone/random")
    (tmp_path / "token").write_text(TOKEN)
    assert text("someone/random") == text(folder)


def test_other_models_are_refused_before_their_weights_are_fetched(
    hub: HubServer, tmp_path: Path
) -> None:
    other = tmp_path / "folders" / "other"
    other.mkdir(parents=True)
    (other / "model.safetensors").write_bytes(b"much")
    hub.add("someone/other", other)
    with refused(ModelError, "someone/other: ", "config.yaml"):
        find_model("someone/other")
    (other / "config.yaml").write_text("layers: 3\n")
    hub.add("someone/else", other)
    with refused(ModelError, "someone/else: ", "'layers'"):
        find_model("someone/else")
    assert not any("safetensors" in one for one in hub.requests)


def test_huggingface_hub_is_missing(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking("huggingface_hub", monkeypatch)
    with refused(PackageError, "someone/random: ", "keyframe-asr[hub]"):
        find_model("someone/random")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("owner/name", True),
        ("hf://owner/name@v1.0", True),
        ("owner/na.me-2@main", True),
        ("./owner/name", False),
        ("/owner/name", False),
        ("owner/name/more", False),
        ("name", False),
        ("../name", False),
    ],
)
def test_names_on_the_hub(name: str, is_one: bool) -> None:
    assert is_hub_name(name) == is_one


def fine_tuned(base: str | Path, out: Path) -> Path:
    model = load_model_folder(find_model(base))
    model.network.head.bias.data += 1.0
    save_model_folder(
        out, model.network, model.tokenizer, model.config, "# tuned\n", Storage(base=base)
    )
    return out


def test_a_base_on_the_hub_is_named_with_its_commit(
    hub: HubServer, folder: Path, tmp_path: Path
) -> None:
    commit = hub.add("someone/random", folder).commit("main")
    tuned = fine_tuned("someone/random", tmp_path / "tuned")
    base = load_model_folder_config(tuned / "config.yaml").base
    assert base is not None and base.model == f"hf://someone/random@{commit}"
    expected = text(tuned)
    shutil.rmtree(tmp_path / "cache")
    fetch.cache_clear()
    assert text(tuned) == expected


def test_dry_run(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("private")
    ran = keyframe("push", folder, "me/random", "--dry-run", "--private")
    assert ran.exit_code == 0
    for name in ("config.yaml", "model.safetensors", "tokenizer.txt", "README.md"):
        assert name in ran.stdout
    assert "notes.txt" not in ran.stdout and "me/random" in ran.stdout
    for key in ("license", "datasets", "metrics"):
        assert key in ran.stderr
    assert hub.requests == []
    ran = keyframe("push", "demo", "me/demo", "--dry-run")
    assert (ran.exit_code, ran.stderr) == (0, "")


def test_a_model_is_sent_and_fetched_again(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (folder / "README.md").write_text("$ keyframe transcribe runs/x speech.wav\n")
    (folder / "notes.txt").write_text("private")
    ran = keyframe("push", folder, "me/random", "--private")
    assert ran.exit_code == 0, ran
    assert hub.address in ran.stdout
    sent = hub.repositories["me/random"]
    assert sent.private
    assert set(sent.branches["main"]) == {
        "config.yaml",
        "model.safetensors",
        "tokenizer.txt",
        "README.md",
    }
    assert sent.branches["main"]["README.md"] == b"$ keyframe transcribe me/random speech.wav\n"
    assert text("me/random") == text(folder)
    other = save_random_model(tmp_path / "other", seed=12)
    assert keyframe("push", other, "me/random", "--revision", "next").exit_code == 0
    fetch.cache_clear()
    assert text("me/random") == text(folder)
    assert text("me/random@next") == text(other)


def test_what_is_sent_of_a_delta_folder(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    hub.add("someone/random", folder)
    (tmp_path / "token").write_text(TOKEN)
    bases = {"local": folder, "shared": "someone/random"}
    for name, base in bases.items():
        tuned = fine_tuned(base, tmp_path / name)
        ran = keyframe("push", tuned, f"me/{name}")
        assert ran.exit_code == 0, ran
        files = hub.repositories[f"me/{name}"].branches["main"]
        whole = len((folder / "model.safetensors").read_bytes())
        on_hub = yaml.safe_load(files["config.yaml"])["base"] is not None
        assert on_hub == (name == "shared")
        assert (len(files["model.safetensors"]) > 0.9 * whole) == (name == "local")
        assert text(f"me/{name}") == text(tuned)


def test_a_push_that_cannot_work(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    assert "HF_TOKEN" in keyframe_error("push", folder, "me/random")
    assert hub.requests == []
    for name in ("random", "a/b/c", "me/random@main", "hf://me/random"):
        assert keyframe("push", folder, name).error.startswith(f"{name}: ")
    assert keyframe("push", tmp_path / "none", "me/random").error.startswith(f"{tmp_path}")
    (tmp_path / "token").write_text("hf_of_somebody_else")
    assert "me/random: " in keyframe_error("push", folder, "me/random")
    assert hub.repositories == {}


def keyframe_error(*arguments: object) -> str:
    """The last line of a command that had listed files before it failed."""
    ran = keyframe(*arguments)
    assert ran.exit_code == 1
    return ran.stderr.splitlines()[-1]


def test_a_language_model_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    from keyframe_asr.config.decoding import DecodingConfig

    (tmp_path / "lm").write_bytes(b"n-grams")
    decoding = DecodingConfig(mode="axe", greedy="axe", language_model="language_model.ngram")
    model: StoredModel = random_model()
    model = replace(model, config=model.config.model_copy(update={"decoding": decoding}))
    save_model_folder(
        tmp_path / "with",
        model.network,
        model.tokenizer,
        model.config,
        "",
        Storage(),
        tmp_path / "lm",
    )
    hub.add("someone/with", tmp_path / "with")
    found = load_model_folder(find_model("someone/with")).language_model
    assert found is not None and found.read_bytes() == b"n-grams"


def test_shipped_models_come_before_the_hub(hub: HubServer) -> None:
    assert find_model("demo") == shipped_models()["demo"]
    assert hub.requests == []
