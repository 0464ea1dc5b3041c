"""The rules of the house: who may import what, how long a file may be, what no file may name."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import diffst

ROOT = Path(__file__).parents[1]
PACKAGES = {"diffst_cli": ROOT / "diffst_cli", "diffst": ROOT / "models" / "diffst"}
MAX_LINES = 400  # of a file
MAX_BODY_LINES = 50  # of a function, after its docstring
HEAVY = {"torch", "diffusers", "numpy", "av", "cv2", "scenedetect", "safetensors", "einops"}

# Which modules use what: these and no others.
RICH_USERS = {"diffst_cli.progress"}
PYAV_USERS = {
    "diffst_cli.probe_file",
    "diffst_cli.file_times",
    "diffst_cli.packet_scan",
    "diffst_cli.orientation",  # the display matrix comes with a decoded frame
    "diffst_cli.probe_images",
    "diffst_cli.read_images",
    "diffst_cli.decode",  # times travel in ffmpeg's pipe
    "diffst_cli.frame_pipe",  # ours to ffmpeg
    "diffst_cli.ffmpeg_facts",  # in its types
    "diffst_cli.presented",  # when it is heard, only its decoder knows
    "diffst_cli.hdr",  # HDR10 data comes with a decoded frame
    "diffst.training.media",
    "diffst.wan.training.sources",
}
NOT_SOURCE = {".git", ".venv", ".hypothesis", "build", "dist", "__pycache__"}
PROCESS_STARTERS = {
    "diffst_cli.ffmpeg",
    "diffst_cli.evaluation.measuring",  # VMAF is a filter of ffmpeg
    "diffst_cli.encoding",  # tries encoders
    "diffst_cli.evaluation.costs",  # other upscalers, to compare with
    "diffst.training.media",
}
# Put together here so that this file does not name them.
REGISTRIES = tuple(
    ".".join(words)
    for words in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("anaconda", "org"),
    )
)


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module of both packages."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *inside)).removesuffix(".__init__")
            found[name] = path
    assert len(found) > 20, "the packages are not where this test looks"
    return found


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_names(node: ast.AST) -> Iterator[str]:
    """Modules an import statement names; for `from a import b` both `a` and `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.module, "relative imports are not used here"
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_anywhere(path: Path) -> set[str]:
    return {name for node in ast.walk(tree(path)) for name in imported_names(node)}


def imports_on_load(path: Path) -> set[str]:
    """What importing the file imports: not what stands in functions or under TYPE_CHECKING."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(path)]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            found.update(imported_names(child))
            waiting.append(child)
    return found


def users_of(package: str) -> set[str]:
    return {
        name
        for name, path in modules().items()
        if any(found.split(".")[0] == package for found in imports_anywhere(path))
    }


def project_files() -> Iterator[Path]:
    """Every text file a commit may hold: all that is not hidden, built or a cache."""
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_dir() and not path.is_symlink():
                if path.name not in NOT_SOURCE and not path.name.endswith((".egg-info", "_cache")):
                    folders.append(path)
            elif b"\0" not in path.read_bytes()[:8192]:
                yield path


def test_library_never_imports_the_tool():
    users = {name for name in users_of("diffst_cli") if name.split(".")[0] == "diffst"}
    assert users == set()


@pytest.mark.parametrize(
    ("package", "users"),
    [
        ("rich", RICH_USERS),
        ("av", PYAV_USERS),
        ("subprocess", PROCESS_STARTERS),
        ("ray", {"diffst_cli.cluster", "diffst_cli.parcels"}),
        ("click", set()),
    ],
)
def test_only_its_owners_import(package: str, users: set[str]):
    assert users_of(package) == users


def test_no_circular_imports():
    known = modules()
    graph = {
        name: {found for found in imports_on_load(path) if found in known and found != name}
        for name, path in known.items()
    }
    # `from package import module` names the package too; that it is loaded first is no cycle.
    for name, needed in graph.items():
        needed.difference_update(parent for parent in list(needed) if name.startswith(f"{parent}."))
    order = list(
        TopologicalSorter(graph).static_order()
    )  # raises CycleError, which names the cycle
    assert set(order) == set(known)


def test_every_module_is_short():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for root in (*PACKAGES.values(), ROOT / "tests", ROOT / "docs", ROOT / "examples")
        for path in root.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_every_function_is_short():
    long = {}
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.FunctionDef) or node.name in ("forward", "__call__"):
                continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > MAX_BODY_LINES:
                long[f"{name}.{node.name}"] = lines
    assert long == {}


def test_no_file_names_a_package_registry():
    files = list(project_files())
    assert ROOT / "requirements.lock" in files
    named = {
        f"{path.relative_to(ROOT)}: {registry}"
        for path in files
        for registry in REGISTRIES
        if registry in path.read_text(encoding="utf-8")
    }
    assert named == set()


def test_the_library_under_test_is_this_checkouts():
    # Another checkout's, installed as editable, is found first where PYTHONPATH does not say otherwise.
    assert Path(diffst.__file__).is_relative_to(ROOT)


def test_help_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from diffst_cli.app import main\n"
        "try:\n    code = main(['--help'])\n"
        "except SystemExit as stop:\n    code = stop.code\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert "diffst_cli" in loaded
    assert loaded & HEAVY == set()
