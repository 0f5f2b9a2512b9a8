"""Every parameter of every stage, once: name, type, default, help.

A field of these dataclasses becomes a command line option (`mfc.cli`), a key of an experiment file
(`experiments/*.yaml`), an MLproject parameter (``-P key=value``) and an MLflow param (``stage.key``).
The defaults are the published ones (Tsubota et al., SIGGRAPH Asia 2018 Posters; golden data: schedule.json).
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from mfc.errors import UserError, reason_of

C = TypeVar("C")
N = TypeVar("N", int, float)


CORPUS, STORE, ENCODER, SCORE, CLUSTERS = "corpus", "store", "encoder", "score", "clusters"
"""What a field can affect. A thing that is kept lies under a key made of every field that affects it."""
CONTENT = "content"
"""Affects results by what the value leads to: the key holds the data's fingerprint, the weights' digest, the
title, the seed or the resolved number format instead of the value."""
NOTHING = "nothing"
"""No result depends on it, or only within rounding (device, batches of a forward pass)."""
AFFECTS = (CORPUS, STORE, ENCODER, SCORE, CLUSTERS, CONTENT, NOTHING)


def option(
    default: Any,
    help: str,
    *,
    affects: str,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    env: str = "",
    check: Callable[[str, Any], object] | None = None,
) -> Any:
    """A dataclass field that carries what the command line, the validation and the keys need to know.

    Args:
        affects: one of `AFFECTS`.
        check: (name of the field, value) → raises `UserError` for what is not a value of this field.
    """
    meta = {"help": help, "affects": affects, "choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata={**meta, "env": env, "check": check})


def affecting(config: Any, result: str) -> dict[str, Any]:
    """The fields of a configuration, with their values, on which ``result`` depends."""
    return {f.name: getattr(config, f.name) for f in fields(config) if f.metadata["affects"] == result}


def parse_seeds(text: str, name: str = "seeds") -> tuple[int, ...]:
    """``"0,1,2"`` → ``(0, 1, 2)``."""
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or max(seeds) > LARGEST_SEED or len(set(seeds)) != len(seeds):
        raise UserError(
            f"{name}: {text!r} is not a list of different whole numbers below 2**32 such as 0,1,2"
        )
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


def parse_pair(name: str, text: str) -> tuple[str, str]:
    """``"A,B"`` → ``("A", "B")``."""
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or "" in words or words[0] == words[1]:
        raise UserError(f"{name}: {text!r} is not two different run ids or variants, A,B")
    return words[0], words[1]


LARGEST_SEED = 2**32 - 1
MAX_EXPERIMENT_BYTES = 1 << 20
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
RECIPES = ("paper", "custom")
SPLITS = ("train", "val", "test")
DEFAULT_ANNOTATIONS = "annotations.v2018.05.31"


def _store(affects: str = CONTENT) -> Any:
    return option("", "Folder of the face store. Empty: <work_dir>/<experiment>/faces.", affects=affects)


def _model() -> Any:
    help = "Encoder folder or models:/… URI. Empty: this experiment's pre-trained one."
    return option("", help, affects=CONTENT)


def _split() -> Any:
    return option("test", "Which titles.", choices=SPLITS, affects=CONTENT)


def _title_idx() -> Any:
    help = "One title by its place in the split; empty: all of them."
    return option(None, help, minimum=0, affects=CONTENT)


def _seed(help: str, affects: str) -> Any:
    return option(0, help, minimum=0, maximum=LARGEST_SEED, affects=affects)


def _seeds(help: str) -> Any:
    return option("0", help, affects=CONTENT, check=lambda name, text: parse_seeds(text, name))


def _register() -> Any:
    return option(True, "Register each encoder in the MLflow model registry.", affects=NOTHING)


def _figures() -> Any:
    help = "Log figures of the clusters and a thumbnail of every face."
    return option(True, help, affects=NOTHING)


def _jobs() -> Any:
    return option(0, "Processes; 0 means one a core.", minimum=0, maximum=1024, affects=NOTHING)


def _device() -> Any:
    help = "Where to compute: auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps."
    return option("auto", help, affects=NOTHING)


def _precision() -> Any:
    help = "auto: bfloat16 where the device computes it fast."
    return option("auto", help, choices=("auto", "float32", "bfloat16"), affects=CONTENT)


def _epochs(default: int, help: str) -> Any:
    return option(default, help, minimum=1, maximum=1_000_000, affects=ENCODER)


def _batch_size() -> Any:
    return option(64, "Faces in a step.", minimum=2, maximum=65_536, affects=ENCODER)


def _forward_batch() -> Any:
    return option(64, "Faces in a forward pass.", minimum=1, maximum=65_536, affects=NOTHING)


def _lr() -> Any:
    help = "Learning rate; falls to a tenth at half of the epochs."
    return option(1e-3, help, minimum=0, maximum=100, affects=ENCODER)


def _momentum() -> Any:
    return option(0.9, "SGD momentum.", minimum=0, maximum=1, affects=ENCODER)


def _weight_decay() -> Any:
    return option(1e-4, "SGD weight decay.", minimum=0, maximum=100, affects=ENCODER)


def _eval_every(help: str) -> Any:
    # The curves are kept with the weights, so whoever asks for others gets a new training.
    return option(10, help, minimum=0, maximum=1_000_000, affects=ENCODER)


def _checkpoint_every(default: int) -> Any:
    return option(default, "Epochs between checkpoints.", minimum=1, maximum=1_000_000, affects=NOTHING)


def _n_init() -> Any:
    help = "k-means restarts; the best by inertia counts."
    return option(1000, help, minimum=1, maximum=10_000_000, affects=SCORE)


def _adaptation_epochs() -> Any:
    help = "Passes of the adaptation. Empty: as this experiment's finetune."
    return option(None, help, minimum=1, maximum=1_000_000, affects=CLUSTERS)


def _compile() -> Any:
    help = "Compile the network (torch.compile) before training: needs a C++ compiler, and minutes to start."
    return option(False, help, affects=NOTHING)


@dataclass(frozen=True)
class Where:
    """Which experiment, on which data, and where its files go: shared by all stages."""

    experiment: str = option(
        "",
        "Experiment file: a name in experiments/ or a path. Empty: `paper` when Manga109 or a face store "
        "made from it is there, else `demo` (synthetic corpus).",
        affects=CONTENT,
    )
    manga109_root: str = option(
        "",
        "Folder in Manga109 layout (books.txt, annotations…, images).",
        env="MANGA109_ROOT",
        affects=CONTENT,
    )
    work_dir: str = option(
        "work", "Folder of all outputs, one subfolder an experiment.", env="MFC_WORK_DIR", affects=NOTHING
    )
    overwrite: bool = option(
        False,
        "Remake what is there already: a corpus or face store with other parameters, and any training.",
        affects=NOTHING,
    )
    log_images: str = option(
        "auto",
        "Log pictures that show comic artwork: auto (only to a local store), true, false.",
        choices=("auto", "true", "false"),
        env="MFC_LOG_IMAGES",
        affects=NOTHING,
    )


@dataclass(frozen=True)
class Synthesize:
    """Draw a synthetic corpus in the Manga109 layout."""

    preset: str = option("demo", "Size of the corpus.", choices=("tiny", "demo", "manga109"), affects=CORPUS)
    out: str = option("", "Folder to write. Empty: <work_dir>/<experiment>/corpus.", affects=NOTHING)
    seed: int = _seed("The same seed gives the same corpus, byte for byte.", CORPUS)
    jobs: int = _jobs()
    preview: bool = option(
        False, "Also write a contact sheet per title and a page with boxes drawn.", affects=NOTHING
    )


@dataclass(frozen=True)
class Preprocess:
    """Crop the faces of a Manga109-layout corpus into a face store."""

    store: str = _store(NOTHING)
    annotations: str = option(DEFAULT_ANNOTATIONS, "Annotation folder below the corpus root.", affects=STORE)
    splits: str = option(
        "", "JSON file of title lists {train, val, test}. Empty: see docs/reproducing.md.", affects=CONTENT
    )
    size: int = option(256, "Side of a stored crop, pixels.", minimum=16, maximum=2048, affects=STORE)
    color: bool = option(True, "Store three channels; false stores one.", affects=STORE)
    min_side: int = option(
        30,
        "A face is dropped if its width or height is at most this, page pixels.",
        minimum=0,
        maximum=10**6,
        affects=STORE,
    )
    others: str = option(
        "paper",
        "Which names mean 'nobody in particular': the paper's ten spellings, or extended with later ones.",
        choices=("paper", "extended"),
        affects=STORE,
    )
    reference_quirks: bool = option(
        False,
        "Give a face that overlaps no frame the page's first frame, as the reference does.",
        affects=STORE,
    )
    strict: bool = option(
        False, "Stop at the first problem of the corpus instead of listing it.", affects=NOTHING
    )
    export_crops: bool = option(
        False, "Also write the reference's folder of images per character.", affects=STORE
    )
    jobs: int = _jobs()


@dataclass(frozen=True)
class Statistics:
    """Count faces and characters per title and split."""

    store: str = _store(CONTENT)


@dataclass(frozen=True)
class Pretrain:
    """Train the encoder to tell the characters of the train titles apart."""

    store: str = _store(CONTENT)
    backbone: str = option("resnet50", "A torchvision ResNet.", choices=BACKBONES, affects=ENCODER)
    init: str = option(
        "imagenet",
        "Start weights: random, imagenet, or a folder or .pth file of an encoder.",
        affects=CONTENT,
    )
    image_size: int = option(
        224,
        "Side of the network's input; crops are stretched to 8/7 of it first.",
        minimum=32,
        maximum=1792,
        affects=ENCODER,
    )
    min_faces: int = option(
        10, "A character needs this many faces to become a class.", minimum=1, maximum=10**9, affects=ENCODER
    )
    epochs: int = _epochs(200, "Passes over the training faces.")
    batch_size: int = _batch_size()
    lr: float = _lr()
    momentum: float = _momentum()
    weight_decay: float = _weight_decay()
    gamma: float = option(
        2.0,
        "Gamma augmentation: exponent between 1/gamma and gamma; 1 switches it off.",
        minimum=1,
        maximum=100,
        affects=ENCODER,
    )
    eval_every: int = _eval_every(
        "Epochs between validations (k-means on validation titles); 0: only at the end."
    )
    eval_titles: int = option(
        1,
        "How many validation titles to evaluate, from the last one backwards.",
        minimum=1,
        maximum=10**6,
        affects=ENCODER,
    )
    checkpoint_every: int = _checkpoint_every(1)
    register: bool = _register()
    seed: int = _seed("Seed of weights, order and augmentation.", ENCODER)
    device: str = _device()
    precision: str = _precision()
    compile: bool = _compile()


@dataclass(frozen=True)
class Evaluate:
    """Cluster the titles of a split with one encoder; accuracy, NMI and more against the truth."""

    store: str = _store(CONTENT)
    model: str = _model()
    split: str = _split()
    title_idx: int | None = _title_idx()
    n_init: int = _n_init()
    seeds: str = _seeds("Seeds of the restarts, comma-separated; each gives one result per title.")
    batch_size: int = _forward_batch()
    figures: bool = _figures()
    device: str = _device()
    precision: str = _precision()


@dataclass(frozen=True)
class Finetune:
    """Adapt the encoder to one title without its labels, from pairs that the comic gives away."""

    store: str = _store(CONTENT)
    model: str = _model()
    split: str = _split()
    title_idx: int | None = _title_idx()
    recipe: str = option(
        "paper",
        "How pairs are found and used: paper, as published, or custom, as mining, frame_mates, sampling, "
        "loss, temperature and rounds say.",
        choices=RECIPES,
        affects=ENCODER,
    )
    mining: str = option(
        "nearest",
        "Must-links: each face with its nearest neighbours, or only where that is mutual.",
        choices=("nearest", "mutual"),
        affects=ENCODER,
    )
    frame_mates: str = option(
        "keep",
        "Faces of one frame as candidates for a must-link: keep them, or exclude them.",
        choices=("keep", "exclude"),
        affects=ENCODER,
    )
    sampling: str = option(
        "shuffled",
        "Which faces share a batch: any, or linked ones.",
        choices=("shuffled", "linked"),
        affects=ENCODER,
    )
    loss: str = option(
        "contrastive",
        "What is learnt from pairs.",
        choices=("contrastive", "supervised_contrastive"),
        affects=ENCODER,
    )
    temperature: float = option(
        0.1,
        "Of the supervised contrastive loss: similarities are divided by it.",
        minimum=0.01,
        maximum=100,
        affects=ENCODER,
    )
    rounds: int = option(
        1,
        "How often pairs are mined: each round goes on from the encoder of the one before, with its share of "
        "the epochs.",
        minimum=1,
        maximum=1000,
        affects=ENCODER,
    )
    tau: float = option(
        1.4, "Margin of the contrastive loss on features of length 1.", minimum=0, maximum=2, affects=ENCODER
    )
    page_range: int = option(
        1,
        "A must-link neighbour is at most this many pages away; -1: anywhere.",
        minimum=-1,
        maximum=10**6,
        affects=ENCODER,
    )
    top_n: int = option(1, "Must-link neighbours per face.", minimum=1, maximum=1000, affects=ENCODER)
    epochs: int = _epochs(100, "Passes over the title's faces.")
    batch_size: int = _batch_size()
    lr: float = _lr()
    momentum: float = _momentum()
    weight_decay: float = _weight_decay()
    eval_every: int = _eval_every(
        "Epochs between evaluations for the curves (never for selection); 0: only at the end."
    )
    checkpoint_every: int = _checkpoint_every(10)
    n_init: int = _n_init()
    register: bool = _register()
    seeds: str = _seeds(
        "Seeds of order, augmentation and restarts, comma-separated; each gives one run per title."
    )
    figures: bool = _figures()
    device: str = _device()
    precision: str = _precision()
    compile: bool = _compile()


@dataclass(frozen=True)
class Cluster:
    """Find the cast of a comic without labels: clusters, a gallery to look at, and an export."""

    input: str = option(
        "",
        "Folder of the comic: in Manga109 layout, or of pages (then also --boxes), or of cut-out faces.",
        affects=CONTENT,
    )
    title: str = option("", "Which title of a Manga109-layout folder. Empty: its only one.", affects=CONTENT)
    boxes: str = option("", "Face boxes of a folder of pages: a COCO JSON or a CSV file.", affects=CONTENT)
    frames: str = option(
        "", "Frame (panel) boxes: COCO JSON or CSV. Empty: those in --boxes, if it has any.", affects=CONTENT
    )
    annotations: str = option(
        DEFAULT_ANNOTATIONS,
        "Annotation folder of a Manga109-layout folder; its labels are not read.",
        affects=CONTENT,
    )
    out: str = option(
        "", "Folder to write. Empty: <work_dir>/<experiment>/cluster/<name of the comic>.", affects=NOTHING
    )
    model: str = _model()
    adapt: bool = option(
        True,
        "Adapt the encoder to the comic first, as finetune does, when its pages are known.",
        affects=CLUSTERS,
    )
    epochs: int | None = _adaptation_epochs()
    n_clusters: str = option(
        "auto",
        "How many characters: auto, or a number.",
        affects=CLUSTERS,
        check=lambda name, text: parse_auto(name, text, int, 1),
    )
    method: str = option(
        "agglomerative",
        "agglomerative (average linkage, keeps faces of one frame apart), hdbscan, or silhouette (k-means).",
        choices=("agglomerative", "hdbscan", "silhouette"),
        affects=CLUSTERS,
    )
    threshold: str = option(
        "auto",
        "Cosine distance at which the agglomerative tree is cut: auto (the best one on the validation "
        "titles, kept beside the encoder), or a number.",
        affects=CLUSTERS,
        check=lambda name, text: parse_auto(name, text, float, 0),
    )
    previous: str = option(
        "", "A clusters.csv from before: its cluster numbers and names are kept.", affects=CONTENT
    )
    corrections: str = option(
        "",
        "A clusters.csv that you edited: its clusters hold as you left them, names and moves too.",
        affects=CONTENT,
    )
    min_side: int | None = option(
        None,
        "Leave out faces of at most this side, page pixels. Empty: as preprocess.",
        minimum=0,
        maximum=10**6,
        affects=CLUSTERS,
    )
    strict: bool = option(
        True, "Stop at the first page that cannot be read instead of going on without it.", affects=NOTHING
    )
    seed: int = _seed("Seed of the adaptation and of k-means.", CLUSTERS)
    batch_size: int = _forward_batch()
    device: str = _device()
    precision: str = _precision()


@dataclass(frozen=True)
class EvaluateClustering:
    """How well unknown numbers of characters are found, on the labelled titles of a split."""

    store: str = _store()
    model: str = _model()
    split: str = _split()
    adapt: bool = option(
        True, "Also with the encoder adapted to each title, as finetune does.", affects=CONTENT
    )
    epochs: int | None = _adaptation_epochs()
    seed: int = _seed("Seed of the adaptation and of k-means.", CLUSTERS)
    batch_size: int = _forward_batch()
    device: str = _device()
    precision: str = _precision()


@dataclass(frozen=True)
class Intervals:
    """How intervals are estimated: shared by what compares scores."""

    confidence: float = option(
        0.95, "Coverage of the intervals.", minimum=0.5, maximum=0.999, affects=NOTHING
    )
    resamples: int = option(10000, "Bootstrap resamples.", minimum=100, maximum=100_000, affects=NOTHING)
    seed: int = _seed("Seed of the bootstrap.", NOTHING)


@dataclass(frozen=True)
class Report(Intervals):
    """The table of a pipeline: per title and mean, pre-trained against adapted, beside the paper's row."""


@dataclass(frozen=True)
class Compare(Intervals):
    """The paired difference B - A of two MLflow runs, or of two variants of the scorebook."""

    runs: str = option(
        "",
        "A,B: two MLflow run ids, or two variants as `mfc report` lists them.",
        affects=CONTENT,
    )


@dataclass(frozen=True)
class Promote:
    """Make a registered encoder the champion, if it clusters the same titles better."""

    store: str = _store(CONTENT)
    candidate: str = option(
        "",
        "models:/… URI of the encoder to promote. Empty: models:/mfc-face-encoder@pretrained.",
        affects=CONTENT,
    )
    metric: str = option(
        "val/ami",
        "SPLIT/NAME by which to choose. Choosing by test titles makes later figures on them too good.",
        affects=NOTHING,
    )
    min_gain: float = option(
        0.0,
        "The interval of the mean paired difference must lie wholly above this.",
        minimum=0,
        affects=NOTHING,
    )
    seeds: str = _seeds("Seeds of the restarts, comma-separated.")


@dataclass(frozen=True)
class ImportOpenMantra:
    """Turn the OpenMantra dataset and face boxes of its books into a corpus in the Manga109 layout."""

    input: str = option(
        "", "Folder of the dataset as downloaded: annotation.json and images.", affects=CONTENT
    )
    out: str = option("", "Folder of the corpus to write.", affects=NOTHING)
    faces: str = option(
        "",
        "Folder of more face boxes, BOOK.csv each; they go before those that mfc brings for a book.",
        affects=CONTENT,
    )


@dataclass(frozen=True)
class Verify:
    """Check stores, encoders and corpora, and list every problem with its file and id."""

    path: str = option(
        "",
        "Folder of a store, an encoder or a corpus, or of several. Empty: <work_dir>/<experiment>.",
        affects=CONTENT,
    )


@dataclass(frozen=True)
class ImportCheckpoint:
    """Take a torchvision state_dict, e.g. the published model.pth, as the pre-trained encoder."""

    backbone: str = option(
        "resnet50", "The torchvision ResNet that it was saved from.", choices=BACKBONES, affects=ENCODER
    )
    classes: int = option(
        1031,
        "Outputs of its last layer; 1031 in the published one.",
        minimum=1,
        maximum=10**6,
        affects=ENCODER,
    )
    register: bool = _register()


STAGES: Mapping[str, type] = types.MappingProxyType(
    {
        "synthesize": Synthesize,
        "preprocess": Preprocess,
        "statistics": Statistics,
        "pretrain": Pretrain,
        "evaluate": Evaluate,
        "finetune": Finetune,
        "cluster": Cluster,
        "evaluate_clustering": EvaluateClustering,
        "report": Report,
        "compare": Compare,
        "promote": Promote,
    }
)


TOOLS: Mapping[str, type] = types.MappingProxyType({"import_openmantra": ImportOpenMantra, "verify": Verify})
"""Commands beside the pipeline, which no experiment file sets."""
COMMANDS: Mapping[str, type] = types.MappingProxyType(
    {**STAGES, **TOOLS, "import_checkpoint": ImportCheckpoint}
)


def name_of(config: type) -> str:
    """The command that a configuration belongs to."""
    return next(name for name, kind in COMMANDS.items() if kind is config)


def convert(config: type, name: str, value: Any) -> Any:
    """Turn a value from a command line or a YAML file into the field's type, or raise `UserError`.

    PyYAML reads ``1e-3`` as a string and `mlflow run` makes everything one, so strings are always welcome.
    """
    spec = next(f for f in fields(config) if f.name == name)
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
    if meta["check"] is not None and value is not None:
        meta["check"](name, value)
    if meta["choices"] and value not in meta["choices"]:
        raise UserError(f"{name}: {value!r} is not one of {', '.join(meta['choices'])}")
    if meta["minimum"] is not None and value < meta["minimum"]:
        raise UserError(f"{name}: {value} is below the smallest allowed value, {_plain(meta['minimum'])}")
    if meta["maximum"] is not None and value > meta["maximum"]:
        raise UserError(f"{name}: {value} is above the largest allowed value, {_plain(meta['maximum'])}")


def _plain(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def build(config: type[C], values: Mapping[str, Any], *, source: str) -> C:
    """Make a configuration from a mapping; an unknown key is an error that names ``source``."""
    names = [f.name for f in fields(config)]  # type: ignore[arg-type]
    for key in values:
        if not isinstance(key, str) or key not in names:
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
        if path.stat().st_size > MAX_EXPERIMENT_BYTES:
            raise UserError(f"{path}: larger than {MAX_EXPERIMENT_BYTES >> 20} MiB, so it is no experiment")
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else reason_of(error)
        raise UserError(f"{path}: not a YAML text in UTF-8 ({reason}); mend it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend the path") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected stages with their parameters, e.g. `pretrain: {{epochs: 5}}`")
    about = str(content.pop("about", ""))
    for stage, section in content.items():
        if not isinstance(stage, str) or stage not in STAGES:
            raise UserError(f"{path}: unknown key {stage!r}; the keys are about, {', '.join(STAGES)}")
        if not isinstance(section, dict):
            raise UserError(f"{path}: {stage}: expected `key: value` lines, got {section!r}")
        build(STAGES[stage], section, source=f"{path}: {stage}")
    return Experiment(path.stem, about, content)
