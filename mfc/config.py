"""Every parameter of every stage, once: name, type, default, help.

A field of these dataclasses becomes a command line option (`mfc.cli`), a key of an experiment file
(`experiments/*.yaml`), an MLproject parameter (``-P key=value``) and an MLflow param (``stage.key``).
The defaults are the published ones (Tsubota et al., SIGGRAPH Asia 2018 Posters; golden data: schedule.json).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mfc.errors import UserError

C = TypeVar("C")
N = TypeVar("N", int, float)


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    env: str = "",
) -> Any:
    """A dataclass field that carries what the command line and the validation need to know."""
    meta = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum, "env": env}
    return field(default=default, metadata=meta)


DEFAULT_ANNOTATIONS = "annotations.v2018.05.31"
DEVICES = "Where to compute: auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps."
COMPILE = "Compile the network (torch.compile) before training: needs a C++ compiler, and minutes to start."
PRECISIONS = ("auto", "float32", "bfloat16")
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
RECIPES = ("paper",)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Where:
    """Which experiment, on which data, and where its files go: shared by all stages."""

    experiment: str = option(
        "",
        "Experiment file: a name in experiments/ or a path. Empty: `paper` when Manga109 or a face store "
        "made from it is there, else `demo` (synthetic corpus).",
    )
    manga109_root: str = option(
        "", "Folder in Manga109 layout (books.txt, annotations…, images).", env="MANGA109_ROOT"
    )
    work_dir: str = option("work", "Folder of all outputs, one subfolder an experiment.", env="MFC_WORK_DIR")
    overwrite: bool = option(False, "Remake an output that exists with other parameters.")
    log_images: str = option(
        "auto",
        "Log pictures that show comic artwork: auto (only to a local store), true, false.",
        choices=("auto", "true", "false"),
        env="MFC_LOG_IMAGES",
    )


@dataclass(frozen=True)
class Synthesize:
    """Draw a synthetic corpus in the Manga109 layout."""

    preset: str = option("demo", "Size of the corpus.", choices=("tiny", "demo", "manga109"))
    out: str = option("", "Folder to write. Empty: <work_dir>/<experiment>/corpus.")
    seed: int = option(0, "The same seed gives the same corpus, byte for byte.", minimum=0)
    jobs: int = option(0, "Processes; 0 means one a core.", minimum=0)
    preview: bool = option(False, "Also write a contact sheet per title and a page with boxes drawn.")


@dataclass(frozen=True)
class Preprocess:
    """Crop the faces of a Manga109-layout corpus into a face store."""

    store: str = option("", "Folder of the face store. Empty: <work_dir>/<experiment>/faces.")
    annotations: str = option(DEFAULT_ANNOTATIONS, "Annotation folder below the corpus root.")
    splits: str = option("", "JSON file of title lists {train, val, test}. Empty: see docs/reproducing.md.")
    size: int = option(256, "Side of a stored crop, pixels.", minimum=16, maximum=2048)
    color: bool = option(True, "Store three channels; false stores one.")
    min_side: int = option(
        30, "A face is dropped if its width or height is at most this, page pixels.", minimum=0
    )
    others: str = option(
        "paper",
        "Which names mean 'nobody in particular': the paper's ten spellings, or extended with later ones.",
        choices=("paper", "extended"),
    )
    reference_quirks: bool = option(
        False, "Give a face that overlaps no frame the page's first frame, as the reference does."
    )
    strict: bool = option(False, "Stop at the first problem of the corpus instead of listing it.")
    export_crops: bool = option(False, "Also write the reference's folder of images per character.")
    jobs: int = option(0, "Processes; 0 means one a core.", minimum=0)


@dataclass(frozen=True)
class Statistics:
    """Count faces and characters per title and split."""

    store: str = option("", "Folder of the face store. Empty: <work_dir>/<experiment>/faces.")


@dataclass(frozen=True)
class Pretrain:
    """Train the encoder to tell the characters of the train titles apart."""

    store: str = option("", "Folder of the face store. Empty: <work_dir>/<experiment>/faces.")
    backbone: str = option("resnet50", "A torchvision ResNet.", choices=BACKBONES)
    init: str = option("imagenet", "Start weights: random, imagenet, or a folder or .pth file of an encoder.")
    image_size: int = option(
        224, "Side of the network's input; crops are stretched to 8/7 of it first.", minimum=32
    )
    min_faces: int = option(10, "A character needs this many faces to become a class.", minimum=1)
    epochs: int = option(200, "Passes over the training faces.", minimum=1)
    batch_size: int = option(64, "Faces in a step.", minimum=2)
    lr: float = option(1e-3, "Learning rate; falls to a tenth at half of the epochs.", minimum=0)
    momentum: float = option(0.9, "SGD momentum.", minimum=0, maximum=1)
    weight_decay: float = option(1e-4, "SGD weight decay.", minimum=0)
    gamma: float = option(
        2.0, "Gamma augmentation: exponent between 1/gamma and gamma; 1 switches it off.", minimum=1
    )
    eval_every: int = option(
        10, "Epochs between validations (k-means on validation titles); 0: only at the end.", minimum=0
    )
    eval_titles: int = option(
        1, "How many validation titles to evaluate, from the last one backwards.", minimum=1
    )
    checkpoint_every: int = option(1, "Epochs between checkpoints.", minimum=1)
    register: bool = option(True, "Register the encoder in the MLflow model registry.")
    seed: int = option(0, "Seed of weights, order and augmentation.", minimum=0)
    device: str = option("auto", DEVICES)
    precision: str = option("auto", "auto: bfloat16 where the device computes it fast.", choices=PRECISIONS)
    compile: bool = option(False, COMPILE)


@dataclass(frozen=True)
class Evaluate:
    """Cluster the titles of a split with one encoder; accuracy, NMI and more against the truth."""

    store: str = option("", "Folder of the face store. Empty: <work_dir>/<experiment>/faces.")
    model: str = option("", "Encoder folder or models:/… URI. Empty: this experiment's pre-trained one.")
    split: str = option("test", "Which titles.", choices=SPLITS)
    title_idx: int | None = option(
        None, "One title by its place in the split; empty: all of them.", minimum=0
    )
    n_init: int = option(1000, "k-means restarts; the best by inertia counts.", minimum=1)
    seeds: str = option("0", "Seeds of the restarts, comma-separated; each gives one result per title.")
    batch_size: int = option(64, "Faces in a forward pass.", minimum=1)
    figures: bool = option(True, "Log figures of the clusters and a thumbnail of every face.")
    device: str = option("auto", DEVICES)
    precision: str = option("auto", "auto: bfloat16 where the device computes it fast.", choices=PRECISIONS)


@dataclass(frozen=True)
class Finetune:
    """Adapt the encoder to one title without its labels, from pairs that the comic gives away."""

    store: str = option("", "Folder of the face store. Empty: <work_dir>/<experiment>/faces.")
    model: str = option("", "Encoder folder or models:/… URI. Empty: this experiment's pre-trained one.")
    split: str = option("test", "Which titles.", choices=SPLITS)
    title_idx: int | None = option(
        None, "One title by its place in the split; empty: all of them.", minimum=0
    )
    recipe: str = option("paper", "How pairs are found and used.", choices=RECIPES)
    tau: float = option(1.4, "Margin of the contrastive loss on features of length 1.", minimum=0, maximum=2)
    page_range: int = option(
        1, "A must-link neighbour is at most this many pages away; -1: anywhere.", minimum=-1
    )
    top_n: int = option(1, "Must-link neighbours per face.", minimum=1)
    epochs: int = option(100, "Passes over the title's faces.", minimum=1)
    batch_size: int = option(64, "Faces in a step.", minimum=2)
    lr: float = option(1e-3, "Learning rate; falls to a tenth at half of the epochs.", minimum=0)
    momentum: float = option(0.9, "SGD momentum.", minimum=0, maximum=1)
    weight_decay: float = option(1e-4, "SGD weight decay.", minimum=0)
    eval_every: int = option(
        10, "Epochs between evaluations for the curves (never for selection); 0: only at the end.", minimum=0
    )
    checkpoint_every: int = option(10, "Epochs between checkpoints.", minimum=1)
    n_init: int = option(1000, "k-means restarts; the best by inertia counts.", minimum=1)
    register: bool = option(True, "Register each adapted encoder in the MLflow model registry.")
    seeds: str = option(
        "0", "Seeds of order, augmentation and restarts, comma-separated; each gives one run per title."
    )
    figures: bool = option(True, "Log figures of the clusters and a thumbnail of every face.")
    device: str = option("auto", DEVICES)
    precision: str = option("auto", "auto: bfloat16 where the device computes it fast.", choices=PRECISIONS)
    compile: bool = option(False, COMPILE)


@dataclass(frozen=True)
class Cluster:
    """Find the cast of a comic without labels: clusters, a gallery to look at, and an export."""

    input: str = option(
        "",
        "Folder of the comic: in Manga109 layout, or of pages (then also --boxes), or of cut-out faces.",
    )
    title: str = option("", "Which title of a Manga109-layout folder. Empty: its only one.")
    boxes: str = option("", "Face boxes of a folder of pages: a COCO JSON or a CSV file.")
    frames: str = option("", "Frame (panel) boxes: COCO JSON or CSV. Empty: those in --boxes, if it has any.")
    annotations: str = option(
        DEFAULT_ANNOTATIONS, "Annotation folder of a Manga109-layout folder; its labels are not read."
    )
    out: str = option("", "Folder to write. Empty: <work_dir>/<experiment>/cluster/<name of the comic>.")
    model: str = option("", "Encoder folder or models:/… URI. Empty: this experiment's pre-trained one.")
    adapt: bool = option(
        True, "Adapt the encoder to the comic first, as finetune does, when its pages are known."
    )
    epochs: int | None = option(
        None, "Passes of the adaptation. Empty: as this experiment's finetune.", minimum=1
    )
    n_clusters: str = option("auto", "How many characters: auto, or a number.")
    method: str = option(
        "agglomerative",
        "agglomerative (average linkage, keeps faces of one frame apart), hdbscan, or silhouette (k-means).",
        choices=("agglomerative", "hdbscan", "silhouette"),
    )
    threshold: str = option(
        "auto",
        "Cosine distance at which the agglomerative tree is cut: auto (the best one on the validation "
        "titles, kept beside the encoder), or a number.",
    )
    previous: str = option("", "A clusters.csv from before: its cluster numbers and names are kept.")
    corrections: str = option(
        "", "A clusters.csv that you edited: your names and moves are kept, the rest is clustered anew."
    )
    min_side: int | None = option(
        None, "Leave out faces of at most this side, page pixels. Empty: as preprocess.", minimum=0
    )
    strict: bool = option(True, "Stop at the first page that cannot be read instead of going on without it.")
    evaluate: str = option(
        "",
        "Instead: how well unknown numbers of characters are found, on the labelled titles of a split.",
        choices=("", "val", "test"),
    )
    seed: int = option(0, "Seed of the adaptation and of k-means.", minimum=0)
    batch_size: int = option(64, "Faces in a forward pass.", minimum=1)
    device: str = option("auto", DEVICES)
    precision: str = option("auto", "auto: bfloat16 where the device computes it fast.", choices=PRECISIONS)


@dataclass(frozen=True)
class Report:
    """The table of a pipeline: per title and mean, pre-trained against adapted, beside the paper's row."""

    compare: str = option("", "Two MLflow run ids, RUN_A,RUN_B: print the paired difference B - A instead.")
    confidence: float = option(0.95, "Coverage of the intervals.", minimum=0.5, maximum=0.999)
    resamples: int = option(10000, "Bootstrap resamples.", minimum=100)
    seed: int = option(0, "Seed of the bootstrap.", minimum=0)


@dataclass(frozen=True)
class Promote:
    """Make a registered encoder the champion, if it clusters the same titles better."""

    store: str = option("", "Folder of the face store. Empty: <work_dir>/<experiment>/faces.")
    candidate: str = option(
        "", "models:/… URI of the encoder to promote. Empty: models:/mfc-face-encoder@pretrained."
    )
    metric: str = option(
        "val/ami",
        "SPLIT/NAME by which to choose. Choosing by test titles makes later figures on them too good.",
    )
    min_gain: float = option(
        0.0, "The interval of the mean paired difference must lie wholly above this.", minimum=0
    )
    seeds: str = option("0", "Seeds of the restarts, comma-separated.")


@dataclass(frozen=True)
class ImportCheckpoint:
    """Take a torchvision state_dict, e.g. the published model.pth, as the pre-trained encoder."""

    backbone: str = option("resnet50", "The torchvision ResNet that it was saved from.", choices=BACKBONES)
    classes: int = option(1031, "Outputs of its last layer; 1031 in the published one.", minimum=1)
    register: bool = option(True, "Register the encoder in the MLflow model registry.")


STAGES: Mapping[str, type] = types.MappingProxyType(
    {
        "synthesize": Synthesize,
        "preprocess": Preprocess,
        "statistics": Statistics,
        "pretrain": Pretrain,
        "evaluate": Evaluate,
        "finetune": Finetune,
        "cluster": Cluster,
        "report": Report,
        "promote": Promote,
    }
)


def convert(config: type, name: str, value: Any) -> Any:
    """Turn a value from a command line or a YAML file into the field's type, or raise `UserError`.

    PyYAML reads ``1e-3`` as a string and `mlflow run` makes everything one, so strings are always welcome.
    """
    spec = next(f for f in dataclasses.fields(config) if f.name == name)
    wanted = typing.get_type_hints(config)[name]
    optional = type(None) in typing.get_args(wanted)
    kind = next(t for t in (typing.get_args(wanted) or (wanted,)) if t is not type(None))
    if optional and (value is None or value == ""):
        return None
    converted = _convert(kind, value)
    if converted is None:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise UserError(f"{name}: {value!r} is not {words[kind]}")
    _check_limits(name, converted, spec.metadata)
    return converted


def _convert(kind: type, value: Any) -> Any:
    """The value as ``kind``; None when it cannot be one."""
    if kind is bool:
        known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return value if isinstance(value, bool) else known.get(str(value).strip().lower())
    if isinstance(value, bool | list | dict | None) and not (kind is str and isinstance(value, bool)):
        return None
    if kind is str:
        return str(value).lower() if isinstance(value, bool) else str(value)
    try:
        number = kind(str(value).strip())
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


def _check_limits(name: str, value: Any, meta: Mapping[str, Any]) -> None:
    if meta["choices"] and value not in meta["choices"]:
        raise UserError(f"{name}: {value!r} is not one of {', '.join(meta['choices'])}")
    if meta["minimum"] is not None and value < meta["minimum"]:
        raise UserError(f"{name}: {value} is below the smallest allowed value, {meta['minimum']:g}")
    if meta["maximum"] is not None and value > meta["maximum"]:
        raise UserError(f"{name}: {value} is above the largest allowed value, {meta['maximum']:g}")


def parse_seeds(text: str) -> tuple[int, ...]:
    """``"0,1,2"`` → ``(0, 1, 2)``."""
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise UserError(f"seeds: {text!r} is not a list of different whole numbers such as 0,1,2")
    return seeds


def parse_auto(name: str, text: str, kind: type[N], minimum: float) -> N | None:
    """``"auto"`` → None, else a number of ``kind`` that is at least ``minimum``."""
    if text.strip().lower() == "auto":
        return None
    number: N | None = _convert(kind, text)
    if number is None or number < minimum:
        word = "a whole number" if kind is int else "a number"
        raise UserError(f"{name}: {text!r} is neither auto nor {word} of at least {minimum:g}")
    return number


def build(config: type[C], values: Mapping[str, Any], *, source: str) -> C:
    """Make a configuration from a mapping; an unknown key is an error that names ``source``."""
    names = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise UserError(f"{source}: unknown key {key!r}; the keys are {', '.join(names)}")
    try:
        return config(**{key: convert(config, key, value) for key, value in values.items()})
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


@dataclass(frozen=True)
class Experiment:
    """An experiment file: its name and, per stage, only what differs from the defaults."""

    name: str
    about: str
    sections: Mapping[str, Mapping[str, Any]]

    def stage(self, name: str) -> Mapping[str, Any]:
        return self.sections.get(name, {})


def experiment_file(name_or_path: str) -> Path:
    """Find an experiment by path, in ``./experiments``, or among those installed with the package."""
    folders = [
        Path("experiments"),
        Path(__file__).parent.parent / "experiments",
        Path(__file__).parent / "_experiments",
    ]
    direct = Path(name_or_path)
    if direct.suffix in (".yaml", ".yml"):
        candidates = [direct]
    else:
        candidates = [folder / f"{name_or_path}.yaml" for folder in folders]
    for path in candidates:
        if path.is_file():
            return path
    known = sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})
    raise UserError(
        f"experiment {name_or_path!r} not found; known ones: {', '.join(known) or 'none'}, or give a path"
    )


def load_experiment(name_or_path: str) -> Experiment:
    """Read and check an experiment file: unknown stages, unknown keys and bad values are errors."""
    import yaml

    path = experiment_file(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected stages with their parameters, e.g. `pretrain: {{epochs: 5}}`")
    about = str(content.pop("about", ""))
    for stage, section in content.items():
        if stage not in STAGES:
            raise UserError(f"{path}: unknown key {stage!r}; the keys are about, {', '.join(STAGES)}")
        if not isinstance(section, dict):
            raise UserError(f"{path}: {stage}: expected `key: value` lines, got {section!r}")
        build(STAGES[stage], section, source=f"{path}: {stage}")
    return Experiment(path.stem, about, content)
