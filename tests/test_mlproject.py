"""The files around the code agree, and `mlflow run .` works with conda, without it, and bare."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.projects._project_spec import load_project
from mlflow.tracking import MlflowClient
from mlflow.utils.environment import _PythonEnv

from mfc import __version__
from mfc.config import STAGES, TOOLS
from mfc.tracking import STAND_IN_MARK
from tests.conftest import ROOT, Clone

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings the same under its older name
    import tomli as tomllib

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


def pip_part(conda: dict[str, Any]) -> list[str]:
    return next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))


def test_conda_installs_what_pip_installs() -> None:
    """One list of dependencies, written twice because MLflow needs the second one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pip_part(yaml.safe_load((ROOT / "conda.yaml").read_text())) == project["dependencies"]


def test_the_distribution_has_a_name_of_its_own() -> None:
    """Another project's package is called mfc on the public index: `pip install -U mfc` would fetch that."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "manga-face-clustering"
    assert project["scripts"] == {"mfc": "mfc.cli:main"}


def test_the_changelog_begins_with_this_version() -> None:
    """Whoever raises the version says what is new."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)
    assert next(heading for heading in headings if heading != "Unreleased") == __version__


def test_a_commit_is_checked_as_make_check_does() -> None:
    """The hooks run the lines of the Makefile, in their order, on everything, without fetching anything."""
    rule = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.M)
    assert rule
    lines = [line.strip().replace("$(BIN)", ".venv/bin") for line in rule[1].splitlines()]
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert [hook["entry"] for hook in hooks] == lines
    assert {(h["language"], h["pass_filenames"], h["always_run"]) for h in hooks} == {("system", False, True)}


def test_uv_and_virtualenv_can_read_the_conda_file() -> None:
    """MLflow's own parser finds every dependency and a Python that the package allows."""
    found = _PythonEnv.from_conda_yaml(str(ROOT / "conda.yaml"))
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert found.dependencies == pip_part(conda)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = re.fullmatch(r">=3\.(\d+)", project["requires-python"])
    assert lowest
    assert int(found.python.split(".")[1]) >= int(lowest[1])


def test_entry_points_are_the_stages_in_order() -> None:
    """Each runs the command of its name; no parameter is repeated, so none can disagree."""
    spec = yaml.safe_load((ROOT / "MLproject").read_text())
    assert list(spec["entry_points"]) == [*STAGES, *TOOLS, "main"]
    project = load_project(str(ROOT))
    for name in spec["entry_points"]:
        entry = project.get_entry_point(name)
        assert entry.command == f"python -m mfc {name}"
        assert entry.parameters == {}
    assert project.get_entry_point("finetune").compute_command({"title_idx": "3", "lr": "1e-3"}, None) == (
        "python -m mfc finetune --title_idx 3 --lr 1e-3"
    )


@pytest.fixture
def project(clone: Clone) -> Clone:
    """A fresh clone with an environment."""
    (clone.path / ".venv").symlink_to(sys.prefix)
    return clone


@pytest.fixture
def compared(project: Clone) -> Clone:
    """... and two runs that can be compared: about the least that a stage can do."""
    project.succeed(f"'{sys.executable}' -c '{TWO_RUNS}'")
    return project


TWO_RUNS = """
from pathlib import Path
from mfc import tracking
for name, score in ("a", 0.5), ("b", 0.75):
    with tracking.open_run(experiment="runs", name=name, stage="main", work_dir=Path("work")) as run:
        for title in ("One", "Two"):
            with run.child(title, stage="finetune", tags={"title": title, "seed": 0}) as child:
                child.metrics({"test/accuracy": score})
    Path(name).write_text(run.id)
"""
COMPARE = "mlflow run . -e compare -P experiment=tiny -P runs=$(cat a),$(cat b)"


def check_comparison(compared: Clone, output: str, environment: str | None) -> None:
    """The table was printed, and the run that `mlflow run` made is the run that mfc wrote to.

    ``environment``: MLflow's tag for the kind of environment; it sets none with `--env-manager=local`.
    """
    assert re.search(r"test/accuracy \| +2 \| +1, 1 \| 0\.500 \| 0\.750 \| \+0\.250", output), output
    client = MlflowClient(f"sqlite:///{compared.path}/mlflow.db")
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.data.tags.get("mlflow.project.env") == environment
    assert run.data.params["compare.runs"] == run.data.params["runs"]
    assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["comparison.json", "comparison.md"]


def test_in_the_active_environment(compared: Clone) -> None:
    """`mlflow run . --env-manager=local` in a folder with a space."""
    check_comparison(compared, compared.succeed(f"{COMPARE} --env-manager=local"), None)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_bare_without_conda(compared: Clone, shell: str, tmp_path: Path) -> None:
    """`source activate.sh`, then the literal `mlflow run .`; the environment was not on PATH before."""
    if shutil.which(shell, path=SYSTEM_PATH) is None:
        pytest.skip(f"no {shell} on this machine")
    env = {"PATH": SYSTEM_PATH, "HOME": str(tmp_path)}
    output = compared.succeed(f"{shell} -c 'source activate.sh && {COMPARE}'", env=env)
    assert output.startswith(f"mfc: {compared.path}/.venv is active")
    check_comparison(compared, output, "local")


def test_activate_works_from_anywhere(project: Clone, tmp_path: Path) -> None:
    """It finds its own place, `set -eu` does not trip it, and it leaves one line and no variables behind."""
    script = f"set -eu; cd /; source '{project.path}/activate.sh'; command -v mlflow; "
    script += "compgen -A function | grep mfc || true; compgen -v | grep _mfc || true"
    output = project.succeed(script, env={"PATH": SYSTEM_PATH, "HOME": str(tmp_path)})
    assert len(output.splitlines()) == 2
    assert Path(output.splitlines()[1]).resolve() == (Path(sys.prefix) / "bin/mlflow").resolve()


def test_the_stand_in_lies_where_a_shell_needs_no_quotes(project: Clone, tmp_path: Path) -> None:
    """MLflow pastes its path unquoted, so in a folder with a space a copy is used, and found by its mark."""
    for home in (tmp_path / "home", tmp_path / "my home"):
        home.mkdir()
        output = project.succeed(
            'source activate.sh >/dev/null; echo "$MLFLOW_CONDA_HOME"',
            env={"PATH": SYSTEM_PATH, "HOME": str(home)},
        ).strip()
        assert re.fullmatch(r"[\w./+-]+", output)
        assert (Path(output) / STAND_IN_MARK).is_file()
        assert os.access(Path(output) / "bin/conda", os.X_OK)


def test_a_real_conda_is_left_alone(project: Clone, tmp_path: Path) -> None:
    """With conda on PATH nothing pretends to be it, and the way into the active environment is told."""
    conda = tmp_path / "bin/conda"
    conda.parent.mkdir()
    conda.write_text("#!/bin/sh\n")
    conda.chmod(0o755)
    output = project.succeed(
        'source activate.sh; echo "home=${MLFLOW_CONDA_HOME:-none}"',
        env={"PATH": f"{conda.parent}:{SYSTEM_PATH}", "HOME": str(tmp_path)},
    )
    assert "--env-manager=local" in output
    assert output.endswith("home=none\n")


def test_activate_without_an_environment_or_unsourced_says_what_to_do(clone: Clone) -> None:
    """Before `make`, and run instead of sourced: one line, not a broken shell."""
    done = clone.run("source activate.sh", env={"PATH": SYSTEM_PATH})
    assert done.returncode == 1
    assert "make it with `make demo` or `make test`" in done.stderr
    for command in ("bash activate.sh", "sh activate.sh"):
        done = clone.run(command, env={"PATH": SYSTEM_PATH})
        assert done.returncode == 1
        assert done.stderr == "mfc: use bash or zsh, and type: source activate.sh\n"
