"""The command line: one thin verb per command. Each imports what it needs when it is called."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from selfie_localizer.errors import UsageError, UserError
from selfie_localizer.quiet import hush_tensorflow
from selfie_renderer.looks import LOOKS

BENCHMARKS = (
    "dataset",
    "annotators",
    "labels",
    "convention",
    "training",
    "serving",
    "latency",
    "quality",
    "ablation",
    "peers",
)

Verb = Callable[[argparse.Namespace], None]

BOX_FORMATS = ("coco", "yolo", "voc", "labelstudio")

MODEL = "models:/NAME/VERSION, models:/NAME@ALIAS, runs:/ID or a folder"


def _annotate(args: argparse.Namespace) -> None:
    from selfie_localizer.annotators.annotate import annotate
    from selfie_localizer.params import load

    settings = load()
    annotate(
        settings.annotate,
        workers=args.workers,
        photos=settings.photos,
        max_rejected=settings.validation.max_rejected,
    )


def _validate(args: argparse.Namespace) -> None:
    from selfie_localizer.params import load
    from selfie_localizer.validation.validate import validate

    validate(load().validation)


def _label(args: argparse.Namespace) -> None:
    from selfie_localizer.labels.label import label
    from selfie_localizer.labels.trusted import TableRules
    from selfie_localizer.params import load

    settings = load()
    label(settings.label, TableRules.of(settings))


def _prepare(args: argparse.Namespace) -> None:
    from selfie_localizer.dataset.prepare import prepare
    from selfie_localizer.params import load

    settings = load()
    prepare(settings.prepare, workers=args.workers, photos=settings.photos)


def _tune(args: argparse.Namespace) -> None:
    from selfie_localizer.params import load
    from selfie_localizer.training.tune import tune

    tune(load(), args.backbone)


def _train(args: argparse.Namespace) -> None:
    from selfie_localizer.params import load
    from selfie_localizer.training.train import train

    train(load(), args.backbone)


def _evaluate(args: argparse.Namespace) -> None:
    from selfie_localizer.evaluation.evaluate import evaluate
    from selfie_localizer.params import load

    evaluate(load(), workers=args.workers)


def _predict(args: argparse.Namespace) -> None:
    from selfie_localizer.app.predict import predict

    predict(args.paths, args.model, args.format, args.draw, args.min_score, args.second_look)


def _promote(args: argparse.Namespace) -> None:
    from selfie_localizer.params import load
    from selfie_localizer.registry.promote import promote

    promote(load())


def _rollback(args: argparse.Namespace) -> None:
    from selfie_localizer.registry.rollback import rollback

    rollback(args.to)


def _status(args: argparse.Namespace) -> None:
    from selfie_localizer.registry.status import collect, table

    print(json.dumps(collect(), indent=2) if args.json else table())


def _export(args: argparse.Namespace) -> None:
    from selfie_localizer.serving.export import export

    export(args.format.split(","), args.out, args.model)


def _estimate(args: argparse.Namespace) -> None:
    from selfie_localizer.app import estimate

    print(estimate.describe())


def _summary(args: argparse.Namespace) -> None:
    from selfie_localizer.app.summary import collect, table

    print(json.dumps(collect(), indent=2) if args.json else table())


def _render(args: argparse.Namespace) -> None:
    from selfie_localizer.acquire.render import render

    render(args.count, args.seed, args.out, workers=args.workers, scenes=args.scenes, look=args.look)


def _fetch(args: argparse.Namespace) -> None:
    from selfie_localizer.acquire.fetch import fetch

    fetch(Path("data"), replace=args.replace, yes=args.yes)


def _import(args: argparse.Namespace) -> None:
    from selfie_localizer.acquire.import_boxes import import_boxes

    import_boxes(args.format, args.source, args.kind, replace=args.replace)


def _export_boxes(args: argparse.Namespace) -> None:
    from selfie_localizer.acquire.export_boxes import export_boxes

    export_boxes(args.format, args.out, table=args.table)


def _benchmark(args: argparse.Namespace) -> None:
    import subprocess

    script = Path("benchmarks") / f"{args.name}.py"
    if not script.exists():
        raise UsageError(f"no {script} here: run this in the project's folder, the one with dvc.yaml")
    done = subprocess.run([sys.executable, str(script), *args.arguments])
    if done.returncode:
        raise UserError(f"{script} ended with exit status {done.returncode}")


class _Version(argparse.Action):
    """Prints the version and exits; it is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"{parser.prog} {version('selfie-localizer')}")
        parser.exit()


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _least_score(text: str) -> float | Literal["auto"]:
    return "auto" if text == "auto" else _share(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="selfie-localizer",
        description="Give it a folder of selfies, get a served model that says where the face is.",
        epilog="The stages are usually run by `dvc repro`; each reads params.yaml in the current folder.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, verb: Verb, summary: str, workers: bool = False) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=summary, description=summary)
        command.set_defaults(verb=verb)
        if workers:
            command.add_argument("--workers", type=_count, default=0, help="processes; 0 (the default) is all cores")
        return command

    add(
        "annotate",
        _annotate,
        "stage: ask annotators about every image in data/, or take data/annotations.csv",
        workers=True,
    )
    add("validate", _validate, "stage: check every row and put the bad ones in quarantine")
    add("label", _label, "stage: make one label of what annotators say, and say which split each image is in")
    add("prepare", _prepare, "stage: decode and resize the images once", workers=True)
    command = add("tune", _tune, "stage: search learning rate, head width and what else tune.space lists")
    command.add_argument("backbone", help="a key of `backbones` in params.yaml")
    command = add("train", _train, "stage: fit the localizer of one backbone; goes on where it was interrupted")
    command.add_argument("backbone", help="a key of `backbones` in params.yaml")
    add("evaluate", _evaluate, "stage: score every backbone on the same untouched test split", workers=True)
    command = add("predict", _predict, "show where the face is: boxes for files, folders and glob patterns")
    command.epilog = (
        "x1, y1 is the upper left corner of a box and x2, y2 its lower right one, in pixels of the photo as a viewer "
        "shows it; the score, 0 to 1, is how sure the model is. Run it in the project's folder."
    )
    command.add_argument("paths", nargs="+", metavar="PATH", help="JPEG, PNG or WebP; folders are searched through")
    first = "the champion by default and, while there is none, starter, the first model"
    command.add_argument("--model", metavar="URI", help=f"{MODEL}; {first}")
    command.add_argument("--format", choices=("table", "json", "csv"), default="table", help="default: table")
    command.add_argument("--draw", type=Path, metavar="DIR", help="write the pictures with their boxes there")
    command.add_argument(
        "--min-score",
        type=_least_score,
        default=0.0,
        metavar="S",
        help="leave out boxes with a score below S, 0 to 1; auto takes what evaluate recommends for the model",
    )
    command.add_argument(
        "--second-look",
        action=argparse.BooleanOptionalAction,
        help="ask again about a crop around the first answer: more exact, twice as long; by default as it is served",
    )
    add("promote", _promote, "stage: make the best model the champion of the registry, if it passes the gates")
    command = add("rollback", _rollback, "point the champion back to the one before it; twice goes one further back")
    command.add_argument("--to", metavar="VERSION", help="make this version the champion instead")
    command = add("status", _status, "show champion and challenger, their scores and their data")
    command.add_argument("--json", action="store_true", help="print the same as JSON")
    command = add("export", _export, "write a model as SavedModel, ONNX or LiteRT, with its preprocessing beside it")
    command.add_argument(
        "--format", default="savedmodel,onnx,litert", metavar="LIST", help="default: %(default)s; or litert_int8, too"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    command.add_argument("--model", metavar="URI", help=f"{MODEL}; the champion by default")
    add("estimate", _estimate, "say how long the pipeline is likely to take on this machine")
    command = add("summary", _summary, "show what the pipeline made and what to type next")
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    command = add("render", _render, "render synthetic selfies with exact boxes", workers=True)
    command.add_argument("--count", type=_count, default=500, help="number of images (default: 500)")
    command.add_argument("--seed", type=_count, default=0, help="image i of a seed is always the same (default: 0)")
    command.add_argument(
        "--scenes", type=_count, default=0, help="pictures without anybody, into negatives/ (default: 0)"
    )
    command.add_argument("--look", choices=LOOKS, default="everyday", help="of the camera (default: everyday)")
    command.add_argument("--out", type=Path, required=True, help="a new or empty folder: images/ and truth.csv")
    command = add("fetch", _fetch, "download the UCF Selfie dataset (46,836 images) into data/")
    command.add_argument("--replace", action="store_true", help="swap what data/ holds for the dataset")
    command.add_argument("--yes", action="store_true", help="download without asking")
    command = add("import", _import, "take boxes from COCO, YOLO, Pascal VOC or Label Studio into data/")
    command.add_argument(
        "source", type=Path, metavar="PATH", help="JSON file (coco, labelstudio) or folder (yolo, voc)"
    )
    command.add_argument("--format", choices=BOX_FORMATS, required=True, help="of the annotation tool")
    tables = ("annotations", "truth", "trusted")
    command.add_argument("--as", dest="kind", choices=tables, required=True, help="the table in data/ to write")
    command.add_argument("--replace", action="store_true", help="overwrite the table")
    command = add("export-boxes", _export_boxes, "write labels, or a table of data/, for an annotation tool")
    command.add_argument("--format", choices=BOX_FORMATS, required=True, help="of the annotation tool")
    place = "a new file (coco, labelstudio) or folder (yolo, voc)"
    command.add_argument("--out", type=Path, required=True, metavar="PATH", help=place)
    command.add_argument("--table", choices=("labels", *tables), default="labels", help="default: labels")
    command = add("benchmark", _benchmark, "measure loader, training step, serving and more, each alone")
    command.add_argument("name", choices=BENCHMARKS)
    command.add_argument("arguments", nargs=argparse.REMAINDER, help="of the benchmark; --help shows them")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 on success, 1 on a failure that the message explains, 2 on wrong usage."""
    args = _parser().parse_args(argv)
    hush_tensorflow()
    try:
        args.verb(args)
        sys.stdout.flush()
    except UserError as error:
        print(f"selfie-localizer: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("selfie-localizer: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader, such as `head`, has gone; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
