"""What a stage depends on is what its code imports, and dvc.yaml says the same."""

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tools.write_dvc_yaml import DVC_YAML, rewrite

from selfie_localizer import cli, dependencies, params
from selfie_localizer.dependencies import EXCLUDED, LOADED_BY_NAME, SOURCE, STAGES, closure, code_digest, code_of

PROJECT = Path(__file__).parents[1]
PIPELINE = YAML(typ="safe").load(DVC_YAML)["stages"]

FakePackage = Callable[[dict[str, str]], Path]


@pytest.fixture
def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePackage:
    """Writes files of a package `fake`, importable from the folder that is returned."""

    def write(contents: dict[str, str]) -> Path:
        for name, text in {"__init__.py": "", **contents}.items():
            (tmp_path / "fake" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "fake" / name).write_text(text)
        return tmp_path

    monkeypatch.syspath_prepend(tmp_path)
    return write


def names(source: Path, start: str, **rules: object) -> set[str]:
    """Returns the closure of a module of `fake`, without the files that are always in it."""
    found = closure(start, ["fake"], source, **{"excluded": (), "loaded_by_name": {}} | rules)
    assert found == sorted(found)
    always = {"fake/__init__.py", f"{start.replace('.', '/')}.py"}
    assert always <= {path.as_posix() for path in found}
    return {path.as_posix().removeprefix("fake/") for path in found if path.as_posix() not in always}


def test_what_is_imported_at_the_top_or_inside_a_function_counts_also_through_others(
    fake_package: FakePackage,
) -> None:
    source = fake_package(
        {
            "stage.py": "from fake import top\n\ndef stage():\n    import fake.lazy\n",
            "top.py": "from fake.through import VALUE",
            "through.py": "VALUE = 1",
            "lazy.py": "",
            "other.py": "",
        }
    )
    assert names(source, "fake.stage") == {"top.py", "through.py", "lazy.py"}


def test_what_only_type_checkers_import_does_not_count(fake_package: FakePackage) -> None:
    source = fake_package(
        {
            "stage.py": "import typing\nfrom typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from fake.kinds import Kind\nif typing.TYPE_CHECKING:\n    import fake.more\n",
            "kinds.py": "Kind = int",
            "more.py": "",
        }
    )
    assert names(source, "fake.stage") == set()


def test_a_module_counts_its_packages_and_what_they_import(fake_package: FakePackage) -> None:
    source = fake_package(
        {
            "stage.py": "from fake.parts import one",
            "parts/__init__.py": "from fake.parts import registered",
            "parts/one.py": "",
            "parts/registered.py": "",
            "parts/two.py": "",
        }
    )
    assert names(source, "fake.stage") == {"parts/__init__.py", "parts/one.py", "parts/registered.py"}


def test_data_of_a_package_counts_and_its_notes_do_not(fake_package: FakePackage) -> None:
    source = fake_package(
        {
            "stage.py": "from fake.parts import one",
            "parts/__init__.py": "",
            "parts/one.py": "",
            "parts/weights.npz": "",
            "parts/pages/page.html": "",
            "parts/NOTES.md": "",
            "parts/py.typed": "",
            "parts/__pycache__/one.pyc": "",
            "parts/inner/__init__.py": "",
            "parts/inner/more.npz": "",
            "elsewhere/__init__.py": "",
            "elsewhere/other.npz": "",
        }
    )
    found = names(source, "fake.stage")
    assert found == {"parts/__init__.py", "parts/one.py", "parts/weights.npz", "parts/pages/page.html"}


def test_what_is_excluded_is_left_out_with_what_only_it_imports(fake_package: FakePackage) -> None:
    source = fake_package(
        {
            "stage.py": "from fake import pictures, shared\nfrom fake.log import send",
            "pictures.py": "from fake import colours, shared",
            "colours.py": "",
            "shared.py": "",
            "log/__init__.py": "",
            "log/send.py": "",
        }
    )
    assert names(source, "fake.stage", excluded=["fake.pictures", "fake.log"]) == {"shared.py"}
    assert names(source, "fake.pictures", excluded=["fake.pictures"]) == {"colours.py", "shared.py"}


def test_code_that_is_loaded_by_name_counts(fake_package: FakePackage) -> None:
    source = fake_package({"stage.py": "", "script.py": "from fake import helper", "helper.py": ""})
    found = names(source, "fake.stage", loaded_by_name={"fake.stage": ["fake.script"]})
    assert found == {"script.py", "helper.py"}


def test_an_unknown_module_is_named(fake_package: FakePackage) -> None:
    with pytest.raises(ValueError, match=r"fake\.stage"):
        closure("fake.stage", ["fake"], fake_package({}))


def test_nothing_is_written(fake_package: FakePackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package({"stage.py": ""})
    before = set(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    names(tmp_path, "fake.stage")
    code_of("train")
    assert set(tmp_path.rglob("*")) == before


def test_a_digest_covers_names_and_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "SOURCE", tmp_path)
    digests = []
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "2")):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(dependencies, "code_of", lambda stage, name=name: [Path(name)])
        digests.append(code_digest("train"))
    assert len(set(digests)) == 3


def test_a_training_depends_on_what_shapes_its_weights_and_on_no_picture() -> None:
    found = {path.as_posix().removeprefix("selfie_localizer/") for path in code_of("train")}
    assert found >= {"network/layers.py", "dataset/augment.py", "dataset/store.py", "training/loop.py"}
    assert not {"cli.py", "network/drawing.py", "training/pictures.py", "tracking/mlflow_runs.py"} & found
    assert "selfie_localizer/serving/pyfunc_model.py" in {path.as_posix() for path in code_of("promote")}


@pytest.mark.parametrize("module", sorted({*EXCLUDED, *LOADED_BY_NAME, *sum(LOADED_BY_NAME.values(), ())}))
def test_every_module_of_the_tables_exists(module: str) -> None:
    base = SOURCE / module.replace(".", "/")
    assert base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


@pytest.mark.parametrize("stage", PIPELINE)
def test_code_that_no_import_shows_stands_in_the_table(stage: str) -> None:
    code = code_of(stage)
    for path in code:
        if path.suffix != ".py":
            continue
        module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse((SOURCE / path).read_bytes())):
            word = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if word in ("import_module", "__import__", "run_path", "run_module", "spec_from_file_location"):
                assert module in LOADED_BY_NAME, f"{path} calls {word}: name what it loads in LOADED_BY_NAME"
            if isinstance(node, ast.Constant) and re.fullmatch(r"[\w/]+\.py", str(node.value)):
                assert any(other.as_posix().endswith(f"/{node.value}") for other in code), f"{path} names {node.value}"


def test_dvc_yaml_lists_the_code_that_each_stage_imports() -> None:
    text = DVC_YAML.read_text(encoding="utf-8")
    assert rewrite(text) == text, "imports have changed since dvc.yaml was written: run `make dvc`"


def test_writing_dvc_yaml_changes_the_code_of_a_stage_and_nothing_else() -> None:
    begin = (
        "# A picture of it all.\nstages:\n  train:\n    foreach: ${backbones}\n    do:\n      cmd: x  # why\n"
        "      deps:\n        - src/selfie_localizer/gone.py\n        # Its images.\n        - build/store\n"
    )
    end = "      params: [seed]\n  promote:\n    always_changed: true\n    cmd: y\n"
    written = rewrite(begin + "        - src/selfie_localizer/training\n" + end)
    code = [f"        - src/{path.as_posix()}\n" for path in code_of("train")]
    assert written == begin.replace("        - src/selfie_localizer/gone.py\n", "") + "".join(code) + end
    assert rewrite(written) == written
    with pytest.raises(ValueError, match="stage train"):
        rewrite("stages:\n  train:\n    cmd: x\n    deps:\n      - src/selfie_localizer/training\n")


@pytest.mark.parametrize("stage", PIPELINE)
def test_every_stage_of_dvc_yaml_has_the_function_of_its_name(stage: str) -> None:
    tree = ast.parse((SOURCE / f"{STAGES[stage].replace('.', '/')}.py").read_bytes())
    assert stage in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_params_of_a_stage_exist_and_cover_the_sections_that_its_function_gets(stage: str) -> None:
    listed = PIPELINE[stage].get("do", PIPELINE[stage])["params"]
    content = YAML(typ="safe").load(PROJECT / "params.yaml")
    for name in listed:
        section = content
        for part in name.replace(".${key}", "").split("."):
            assert part in section, f"{stage}: params.yaml has no {name}"
            section = section[part]
    fields = {name: field.alias or name for name, field in params.Params.model_fields.items()}
    verb = ast.parse(inspect.getsource(getattr(cli, f"_{stage}")))
    given = {fields[node.attr] for node in ast.walk(verb) if isinstance(node, ast.Attribute) and node.attr in fields}
    assert given <= {name.split(".")[0] for name in listed}
