"""Names and flags that others build on change only on purpose."""

from __future__ import annotations

from architecture.public_api import GOLDEN, commands, flags_of, public_api

CONTRACT = {
    "demo": set(),
    "prepare": {"CORPUS", "--source", "--out"},
    "train": {"RECIPE", "--out", "--set", "--resume"},
    "evaluate": {"MODEL", "MANIFEST", "--decode", "--json", "--details", "--compare"},
    "transcribe": {"MODEL", "AUDIO", "--format", "--out", "--decode"},
    "inspect": {"MODEL", "AUDIO", "--out"},
}


def test_public_names_and_flags_are_those_recorded() -> None:
    recorded = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert public_api() == recorded, (
        "the public interface changed; if on purpose: python tests/architecture/public_api.py"
    )


def test_the_command_line_keeps_its_contract() -> None:
    verbs = commands()
    missing = {
        verb: sorted(flags - set(flags_of(verbs[verb])) if verb in verbs else {"the verb itself"})
        for verb, flags in CONTRACT.items()
    }
    assert {verb: flags for verb, flags in missing.items() if flags} == {}
