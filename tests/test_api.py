"""The Python API: a dozen names, imported when asked for, and an example that runs."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from tests.own_data import write_both

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/build.py"


def test_names_are_the_same_wherever_they_are_listed():
    assert sorted(pipeline.HOMES) == sorted(pipeline.__all__)
    assert set(pipeline.__all__) <= set(dir(pipeline))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pipeline.nothing


@pytest.mark.parametrize("name", sorted(pipeline.__all__))
def test_every_name_leads_to_something_documented_and_typed(name):
    found = getattr(pipeline, name)
    if inspect.isfunction(found):
        assert inspect.getdoc(found)
        signature = inspect.signature(found)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())
    elif inspect.isclass(found):
        assert inspect.getdoc(found)


def test_a_type_checker_is_told_of_the_same_homes():
    (block,) = [node for node in ast.parse(Path(pipeline.__file__).read_text("utf-8")).body if isinstance(node, ast.If)]
    told = {
        name.asname or name.name: f"{node.module}:{name.name}" for node in block.body for name in node.names
    }  # fmt: skip
    homes = {name: home if ":" in home else f"{home}:{name}" for name, home in pipeline.HOMES.items()}
    assert told == homes


def test_what_fails_says_how_as_the_command_does():
    with pytest.raises(pipeline.WebTextError, match="did you mean 'karma'") as caught:
        pipeline.parse({"links": {"karmas": 3}})
    assert caught.value.exit_code == 2


def test_a_plan_is_a_value(tmp_path):
    write_both(tmp_path)
    settings = pipeline.parse({"links": {"submissions": ["*.ndjson"]}, "pages": {"warc": ["*.warc.gz"]}})
    stages = {stage.name: round(stage.rows) for stage in pipeline.plan(tmp_path, settings).plan.stages}
    assert tuple(stages) == pipeline.STAGES
    assert (stages["links"], stages["pages"]) == (24, 24)


def test_to_import_it_costs_nothing():
    program = (
        "import sys, pipeline\n"
        "heavy = {'apache_beam', 'lxml', 'numpy', 'pyarrow', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert callable(pipeline.parse)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_the_example_is_short_and_builds_trains_and_writes(tmp_path):
    lines = [line for line in EXAMPLE.read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) - 1 <= 20  # its docstring apart
    write_both(tmp_path)
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert [line.split()[0] for line in told[:6]] == list(pipeline.STAGES)
    assert "links {'links': {'kept': 24}" in told[0]
    assert re.match(r"\d+\.\d+ .*\S", told[6])  # the loss, and what the model writes after the prompt


def test_a_type_checker_follows_the_names(tmp_path):
    program = tmp_path / "typed.py"
    program.write_text("import pipeline\nreveal_type(pipeline.build_stages)\nreveal_type(pipeline.parse)\n")
    command = [sys.executable, "-m", "mypy", "--strict", str(program), str(EXAMPLE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    told = done.stdout.replace("builtins.", "")  # which mypy wrote before 2
    assert "dict[str, pipeline.shards.proofs.Manifest]" in told
    assert "pipeline.config.Settings" in done.stdout
