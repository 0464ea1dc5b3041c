"""The wheel holds all that an installation needs, and works from where it is installed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_COPIED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT, folder / "source", ignore=NOT_COPIED
    )  # building leaves files beside the source
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        folder,
        "./source",
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_both_packages_and_the_weights(wheel: Path):
    expected = {"diffst/py.typed", "diffst_cli/py.typed"}
    for package, root in (("diffst", ROOT / "models"), ("diffst_cli", ROOT)):
        expected |= {path.relative_to(root).as_posix() for path in (root / package).rglob("*.py")}
    weights = ROOT / "models" / "diffst" / "weights"
    expected |= {
        path.relative_to(ROOT / "models").as_posix()
        for path in weights.rglob("*")
        if path.is_file()
    }
    assets = ROOT / "diffst_cli" / "report" / "assets"
    expected |= {path.relative_to(ROOT).as_posix() for path in assets.iterdir()}
    assert {".safetensors", ".html", ".css", ".js"} <= {Path(name).suffix for name in expected}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert expected - held == set()
    assert {name.split("/")[0].partition("-")[0] for name in held} == {"diffst", "diffst_cli"}


def test_installed_wheel_knows_its_version_and_its_model(wheel: Path, tmp_path: Path):
    site = tmp_path / "site"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        site,
        wheel,
        cwd=tmp_path,
    )
    environment = {"PYTHONPATH": str(site)}
    where = "import diffst, diffst_cli; print(diffst.__file__, diffst_cli.__file__, sep='\\n')"
    files = run(sys.executable, "-c", where, cwd=tmp_path, **environment).split("\n")
    assert [Path(file).parent for file in files if file] == [site / "diffst", site / "diffst_cli"]
    assert run(site / "bin" / "diffst", "--version", cwd=tmp_path, **environment).startswith(
        "diffst "
    )
    path = run(
        site / "bin" / "diffst", "models", "path", "nano", cwd=tmp_path, **environment
    ).strip()
    assert Path(path) == site / "diffst" / "weights" / "nano"
    run(site / "bin" / "diffst", "models", "verify", cwd=tmp_path, **environment)
