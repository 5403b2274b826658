"""Optional packages that are missing: one line that names the extra, and nothing else is hidden."""

from __future__ import annotations

import importlib
import pickle

import pytest

from fixtures.command_line import lacking
from fixtures.errors import refused
from keyframe_asr.errors import KeyframeError, PackageError
from keyframe_asr.packages import EXTRAS, missing, packages_for

PACKAGES = {
    package: (extra, package, module)
    for extra, packages in reversed(EXTRAS.items())  # the first that has a package is advised
    for package, module in packages.items()
}


@pytest.mark.parametrize(("extra", "package", "module"), PACKAGES.values())
def test_the_extra_of_a_missing_package_is_named(
    extra: str, package: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking(module, monkeypatch)
    advice = f"pip install 'keyframe-asr[{extra}]'"
    with refused(PackageError, "keyframe verb", package, advice), packages_for("keyframe verb"):
        importlib.import_module(module)


@pytest.mark.parametrize("module", ["torch.no_such_part", "no_such_package", "yaml.no_such_part"])
def test_other_modules_that_are_missing_are_bugs(module: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=module), packages_for("keyframe verb"):
        importlib.import_module(module)


def test_a_package_that_is_there_and_broken_is_not_called_missing() -> None:
    with pytest.raises(ImportError, match="libcuda") as caught, packages_for("keyframe verb"):
        raise ImportError("libcuda.so.1: cannot open shared object file", name="torch")
    assert not isinstance(caught.value, KeyframeError)


def test_a_worker_can_send_the_error() -> None:
    error = missing("torch", "keyframe verb", "or wait")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (PackageError, str(error))
    assert str(error).endswith(", or wait")
