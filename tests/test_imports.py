"""Who may import whom: the arrows of the design, and `import netsuke` without torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def rooms() -> set[str]:
    return {path.parent.name for path in (ROOT / "src/netsuke").glob("*/__init__.py")}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_the_arrows_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in ran.stdout


def test_every_room_has_a_contract_that_names_every_other_room() -> None:
    sources = {contract["source_modules"][0].removeprefix("netsuke.") for contract in CONTRACTS}
    assert sources == rooms() - {"cli"}
    for contract in CONTRACTS:
        source = contract["source_modules"][0].removeprefix("netsuke.")
        _, _, allowed = contract["name"].partition(" imports ")
        permitted = set() if allowed == "no other room" else set(allowed.split(", "))
        forbidden = {module.removeprefix("netsuke.") for module in contract["forbidden_modules"]}
        assert forbidden == rooms() - permitted - {source}, contract["name"]


@pytest.mark.parametrize(
    "code",
    [
        "import netsuke",
        "import netsuke; netsuke.load, netsuke.load_embeddings, netsuke.Preprocess, netsuke.Error",
        "import netsuke.artifact, netsuke.engine, netsuke.data, netsuke.cli",
    ],
)
def test_running_a_file_needs_no_torch(code: str) -> None:
    assert python(f"import sys; {code}; print('torch' in sys.modules)") == "False"
