"""The layout is the architecture: imports run in one direction."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("calibration", "stages", "pipeline", "cli")
MODULES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imported_names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards_only(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    above = LAYERS[LAYERS.index(layer) + 1 :]
    names = imported_names(parse(path))
    assert not {name for name in names if name.startswith(tuple(f"crackmap.{upper}" for upper in above))}
    assert not {name for name in names if name.split(".")[0] in LAYERS}, (
        "import crackmap.<folder>, never the bare folder"
    )
    tops = {name.split(".")[0] for name in names}
    if layer == "calibration":
        assert not tops & {"torch", "torchvision", "click"}
    if layer != "cli":
        assert "click" not in tops
    if layer == "pipeline":
        assert not tops & {"torch", "torchvision"}


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("*.py")), ids=lambda path: path.name)
def test_command_modules_import_nothing_heavy_at_their_top(path: Path) -> None:
    light = {"__future__", "click", "collections", "contextlib", "functools", "dataclasses", "importlib", "json",
             "math", "os", "pathlib", "signal", "sys", "time", "traceback", "typing"}  # fmt: skip
    top_imports = [node for node in parse(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    for name in imported_names(ast.Module(top_imports, [])):
        own = name.startswith(("crackmap.cli", "crackmap.calibration.errors"))
        assert own or name.split(".")[0] in light, name


def test_who_asks_what_was_found_does_not_wait_for_pytorch() -> None:
    modules = [f"crackmap.pipeline.{name}" for name in (
        "cluster.crew", "comparing.compare", "planning", "results", "review.exporting", "review.importing", "run",
        "status", "viewing",
    )]  # fmt: skip
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.split() == ["False"]


def test_setup_cfg_lists_every_package() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {
        "crackmap." + ".".join(path.parent.relative_to(ROOT).parts) for path in MODULES if path.name == "__init__.py"
    }
    assert listed == found
    folders = dict(line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines())
    assert folders == {name: name.removeprefix("crackmap.").replace(".", "/") for name in found}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_small(path: Path) -> None:
    tree = parse(path)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 80, f"{node.name} is too long to read at a glance"
