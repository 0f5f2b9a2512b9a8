"""The layers of the design: a file imports only from layers below it; one place knows MLflow."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {
    0: {"errors"},
    1: {"config", "files", "log", "processes", "workspace"},
    2: {"corpus"},
    3: {"faces"},
    4: {"encoders"},
    5: {"clusters"},
    6: {"adapt"},
    7: {"report"},
    8: {"cast"},
    9: {"stages"},
    10: {"tracking"},
    11: {"workflow"},
    12: {"cli"},
    13: {"__main__"},
}
"""From the ground up: a room imports from those below it."""
EDGE = {"tracking"}


def module_of(path: Path) -> str:
    """The second part of a module's name: ``mfc/stages/report.py`` → ``stages``."""
    part = path.relative_to(ROOT / "mfc").parts[0]
    return part.removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


FILES = sorted(p for p in (ROOT / "mfc").rglob("*.py") if p != ROOT / "mfc" / "__init__.py")


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path) for path in FILES}
IMPORTS = {dotted(path): imports_of(path) for path in FILES}


def layer_of(module: str) -> int:
    return next(level for level, names in LAYERS.items() if module in names)


def violations(path: Path) -> list[str]:
    """The imports of ``path`` that go upward or sideways."""
    importer, wrong = module_of(path), []
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "mfc" or len(parts) < 2 or not is_module(parts[1]):
            continue
        imported = parts[1]
        if imported != importer and layer_of(imported) >= layer_of(importer):
            wrong.append(f"{importer} imports {imported}")
    return wrong


def is_module(name: str) -> bool:
    return (ROOT / "mfc" / f"{name}.py").is_file() or (ROOT / "mfc" / name).is_dir()


def test_every_module_has_one_layer() -> None:
    """A new module must be given its place in the house."""
    known = [name for names in LAYERS.values() for name in names]
    assert sorted({module_of(path) for path in FILES}) == sorted(known)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    """No file imports from its own layer or from one above it."""
    assert violations(path) == []


def test_no_file_needs_itself() -> None:
    """No circle of imports, within a room or across rooms; those inside functions count."""
    needs = {module: {n for n in names if n in MODULES and n != module} for module, names in IMPORTS.items()}
    list(TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle


def test_an_upward_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail."""
    (tmp_path / "mfc").mkdir()
    for name in ("corpus", "faces", "clusters"):
        (tmp_path / "mfc" / name).mkdir()
        (tmp_path / "mfc" / name / "mine.py").write_text("from mfc.faces.store import open_store\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert violations(tmp_path / "mfc" / "corpus" / "mine.py")
    assert not violations(tmp_path / "mfc" / "faces" / "mine.py")
    assert not violations(tmp_path / "mfc" / "clusters" / "mine.py")


def test_stages_do_not_import_stages() -> None:
    """A stage that needs what another does finds it in a room below both."""
    found = {
        f"{path.stem} imports {name}"
        for path in (ROOT / "mfc" / "stages").glob("*.py")
        for name in imports_of(path)
        if name.startswith("mfc.stages")
    }
    assert not found


def test_mlflow_is_imported_at_the_edge_only() -> None:
    """Stages, and everything below them, run without MLflow."""
    importers = {module_of(p) for p in FILES if any(n.split(".")[0] == "mlflow" for n in imports_of(p))}
    assert importers == EDGE


@pytest.mark.parametrize("heavy", ["torch", "mlflow", "pandas", "matplotlib", "sklearn", "numpy"])
def test_the_command_line_starts_light(heavy: str) -> None:
    """`mfc --help` must not wait for a framework."""
    import subprocess
    import sys

    code = f"import sys, mfc.cli; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_cutting_faces_starts_without_a_network() -> None:
    """`mfc preprocess` must not wait for torch, nor for what only clustering or figures need."""
    import subprocess
    import sys

    code = (
        "import sys, mfc.workflow.data; sys.exit(bool({'torch', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
