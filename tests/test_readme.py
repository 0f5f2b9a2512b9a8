"""The commands and the code that the README shows are run here, in order, in a fresh clone.

Each line of a ``bash`` block is run as it stands, or has a row below that says what is run in its place.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, Clone

README = (ROOT / "README.md").read_text(encoding="utf-8")

# What the README shows → what is run for it. The demo experiment takes minutes, so the tiny one, of the same
# parts, stands in; test_literal_commands.py runs two of the literal ones. Empty: nothing can be run.
INSTEAD = {
    "make demo": "make demo EXPERIMENT=tiny",
    "make test": "",  # it is what runs this
    "make ui": "",  # a server that does not end; tests/browser starts one
    "source activate.sh": "",  # put before each of the following lines
    "mlflow run . -P experiment=demo": "mlflow run . -P experiment=tiny",
    "export MANGA109_ROOT=/path/to/Manga109": "",
    "mlflow run . -P experiment=paper": "",  # needs Manga109
}


def lines_of(language: str) -> list[str]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)
    lines = (line.split(" #")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


@pytest.mark.xdist_group("readme")
def test_the_commands_work(clone: Clone) -> None:
    """Every line exits with 0, one after the other, and the last one shows a paired difference."""
    (clone.path / ".venv").symlink_to(ROOT / ".venv")
    ran = []
    for line in dict.fromkeys(lines_of("bash")):
        command = INSTEAD.get(line, line)
        if not command:
            continue
        if command.startswith(("mlflow run", "mfc")) and "tiny" not in command:
            command = command.replace("--experiment demo", "--experiment tiny")
            if command.startswith("mlflow"):
                command += " -P experiment=tiny"
        command = command.replace("title_idx=3", "title_idx=1")
        if "RUN_A,RUN_B" in command:
            command = command.replace("RUN_A,RUN_B", "$(two_runs)") + " --experiment tiny"
        out = clone.succeed(f"{TWO_RUNS}\n[ ! -e .venv ] || source activate.sh >&2\n{command}")
        ran.append((line, out))
    assert [line for line, _ in ran if line.startswith("mlflow run . -e")]
    assert re.search(r"^\| finetune +\| test/accuracy +\|", ran[-1][1], flags=re.M)


TWO_RUNS = """two_runs() { python - <<'END'
from mlflow import MlflowClient
client = MlflowClient("sqlite:///mlflow.db")
ids = [e.experiment_id for e in client.search_experiments()]
runs = client.search_runs(ids, "tags.stage = 'main' and attributes.status = 'FINISHED'")
print(",".join(run.info.run_id for run in runs[:2]))
END
}"""


def test_every_exception_is_still_in_the_readme() -> None:
    """No row above is left over from an older README."""
    assert set(INSTEAD) <= set(lines_of("bash"))


@pytest.mark.xdist_group("tiny")
def test_the_python_lines_work(tiny: Clone) -> None:
    """The five lines that load the registered model give embeddings of two pictures."""
    code = "\n".join(lines_of("python"))
    assert "load_model" in code
    tiny.succeed(
        "python - <<'END'\n"
        "from PIL import Image\n"
        "for name in ('face1.png', 'face2.png'): Image.new('L', (80, 90), 200).save(name)\n"
        f"{code}\n"
        "assert embeddings.shape == (2, 512), embeddings.shape\n"
        "END"
    )


PAGES = sorted(page for folder in ("", "docs", "experiments") for page in (ROOT / folder).glob("*.md"))


def anchors(page: Path) -> set[str]:
    """The places of a page that a link can name: its headings, lower case, blanks as hyphens."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_arrive(page: Path) -> None:
    """Every relative link of a page leads to a file, and to a heading where it names one."""
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")) if "://" not in link]
    assert links or page.name != "README.md"
    for link in links:
        file, _, place = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not place or place in anchors(target), link


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_are_named_exist(page: str) -> None:
    """What a page calls `mfc/…` or `tests/…` is there under this name."""
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:mfc|tests|docs|experiments|benchmarks)/[\w./-]+)`", text))
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_layout_shows_the_house() -> None:
    """What it lists is there, and no room of the package is missing."""
    layout = README.partition("## Layout\n")[2]
    listed = set(re.findall(r"^\| `(.+?)` \|", layout, flags=re.M))
    assert not [name for name in listed if not (ROOT / name).exists()]
    rooms = {f"mfc/{path.parent.name}/" for path in (ROOT / "mfc").glob("*/__init__.py")}
    assert len(rooms) > 5
    assert rooms <= listed


def test_a_stage_is_a_screen_or_two() -> None:
    """As the layout says, a screen being seventy lines."""
    lengths = {p.name: len(p.read_text("utf-8").splitlines()) for p in (ROOT / "mfc/stages").glob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 140} == {}
