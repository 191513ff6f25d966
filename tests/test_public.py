"""The attributes of `netsuke`: found when asked for, and what is said where PyTorch is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import netsuke


def test_every_public_name_is_there() -> None:
    assert set(netsuke.__all__) <= set(dir(netsuke))
    for name in netsuke.__all__:
        assert getattr(netsuke, name) is not None


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = netsuke.nonsense


@pytest.mark.parametrize("name", ["create_model", "list_models", "binarize", "export", "export_embeddings"])
def test_without_torch_the_error_says_what_to_install(name: str) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
import netsuke
try:
    netsuke.{name}()
except netsuke.Error as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install torch" in ran.stdout
    assert "pip install '.[train]'" in ran.stdout


def test_without_torch_the_module_can_be_looked_into() -> None:
    code = """
import sys
sys.modules["torch"] = None
import pydoc
import netsuke
from netsuke import *
from netsuke import export
assert hasattr(netsuke, "binarize")
assert not hasattr(netsuke, "nonsense")
assert callable(load)
assert "Preprocess" in pydoc.render_doc(netsuke)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
