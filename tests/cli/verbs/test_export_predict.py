"""`dqrun export` and `dqrun predict`, from a trained run to predictions on files of the user's."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dqrun.cli import main
from dqrun.cli.verbs import export, export_formats
from dqrun.cli.verbs.export_formats import Format
from dqrun.composition.compose import load_configs
from dqrun.errors import ConfigError
from dqrun.integer import load_program
from dqrun.integer.c.compiled import Compiled, find_compiler
from dqrun.integer.fixed import FixedOperation
from dqrun.runs.model_file import Shapes, load_features, load_model, save_model
from dqrun.sweep.run import run_all

RUN = ["dataset.graphs=20", "model.hidden=8", "train.epochs=1", "train.batch_size=8", "protocol.trials=1", "threads=1"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained GIN on 20 generated threads."""
    results = tmp_path_factory.mktemp("results")
    run_all(load_configs([*RUN, "model=gin", "quant=int4", "plan=integer", f"results.dir={results}"]), quiet=True)
    (folder,) = (results / "runs").iterdir()
    return folder


@pytest.fixture(scope="module")
def program_file(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "gin.dqp"
    assert main(["export", str(run_folder), "-o", str(path)]) == 0
    return path


def predictions(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_export_by_name_says_what_it_wrote(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", run_folder.name, "--results", str(run_folder.parents[1])]) == 0
    text = capsys.readouterr().out
    assert f"{run_folder.name}.dqp" in text and "of the FP32 weights" in text and "int4" in text
    assert load_program(f"{run_folder.name}.dqp").origin["run"] == run_folder.name


def test_mistakes_of_export(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "RUN must be a run folder with model.safetensors" in failure(capsys, "export", "nothing")
    line = failure(capsys, "export", run_folder, "-o", tmp_path / "missing" / "a.dqp")
    assert "-o must name a file that can be written" in line
    assert "required: RUN|FILE; dqrun export --help" in failure(capsys, "export")
    assert "argument --format: invalid choice: 'wasm'" in failure(capsys, "export", run_folder, "--format", "wasm")


def test_an_option_of_one_format_is_refused_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Format("nowhere:nothing", "another one", "RUN.x", {"--wide": {"type": int}})
    monkeypatch.setitem(export_formats.FORMATS, "other", other)
    parse = export.build_parser().parse_args
    assert export_formats.chosen(parse(["RUN", "--format", "other", "--wide", "0"])) is other
    with pytest.raises(ConfigError, match=r"^--wide must be given with --format other alone, got '--format program'$"):
        export_formats.chosen(parse(["RUN", "--wide", "0"]))


def test_a_model_for_onnx_runtime_of_a_run_and_of_a_file(
    run_folder: Path, program_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    of_run, of_file = tmp_path / "run.onnx", tmp_path / "file.onnx"
    assert main(["export", str(run_folder), "--format", "onnx", "--check", "-o", str(of_run)]) == 0
    written, agreement = capsys.readouterr().out.splitlines()
    assert f"{of_run}: {of_run.stat().st_size} bytes, opset 21" in written
    assert "ONNX Runtime on the test data: 4 of 4 predictions (100.00%) are the program's" in agreement
    assert main(["export", str(program_file), "--format", "onnx", "-o", str(of_file)]) == 0
    assert of_file.read_bytes() == of_run.read_bytes()


def test_mistakes_of_export_from_a_file(program_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = "export", program_file, "--format", "onnx"
    assert "--check must be given with a run: a program's file has neither network" in failure(capsys, *onnx, "--check")
    assert "--format program must be given with a run" in failure(capsys, "export", program_file)
    line = failure(capsys, "export", program_file, "--max-nodes", 5)
    assert "--max-nodes must be given with --format c alone, got '--format program'" in line
    damaged = tmp_path / "a.dqp"
    damaged.write_bytes(program_file.read_bytes()[:-1])
    assert "a.dqp is" in failure(capsys, "export", damaged, "--format", "onnx")
    pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
    missing = tmp_path / "missing" / "a.onnx"
    assert "-o must name a file that can be written" in failure(capsys, *onnx, "-o", missing)


def test_how_logits_agree(program_file: Path) -> None:
    from dqrun.cli.verbs.export_onnx import compare
    from dqrun.composition.compose import load_configs
    from dqrun.training.tasks import Task

    program = load_program(program_file)
    expected = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
    found = expected.clone()
    found[1] = torch.tensor([1.0, 1.0 + 3 * float(program.output_step)])
    agreement = compare(program, Task.of(load_configs([])[0].dataset), found, expected)
    assert (agreement.predictions, agreement.equal, agreement.within_half_a_step) == (4, 3, 7 / 8)
    assert agreement.largest_steps == pytest.approx(1 / float(program.output_step) + 3, rel=1e-5)


def test_export_of_another_plan_names_site_and_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_all(load_configs([*RUN, "quant=int8", "plan=paper", f"results.dir={tmp_path}"]), quiet=True)
    (folder,) = (tmp_path / "runs").iterdir()
    assert "states.0 must be quantised" in (line := failure(capsys, "export", folder)) and "plan=integer" in line


def test_a_network_file_without_features_takes_them_from_its_data(run_folder: Path, tmp_path: Path) -> None:
    model, config = load_model(run_folder / "model.safetensors")
    known = load_features(run_folder / "model.safetensors")
    assert known is not None and known.kind == "scaled_degree"
    old = tmp_path / "old"
    old.mkdir()
    save_model(old / "model.safetensors", model, config, Shapes(1, 0, 2))
    (old / "row.json").write_text((run_folder / "row.json").read_text())
    assert load_features(old / "model.safetensors") is None
    assert main(["export", str(old), "-o", str(tmp_path / "old.dqp")]) == 0
    assert load_program(tmp_path / "old.dqp").origin["features"]["mean"] == known.mean


def test_predictions_on_the_training_dataset(program_file: Path, tmp_path: Path) -> None:
    assert main(["predict", str(program_file), "--dataset", "threads", "-o", str(tmp_path / "p.csv")]) == 0
    lines = predictions(tmp_path / "p.csv")
    assert list(lines[0]) == ["graph", "prediction", "logit_0", "logit_1", "target"]
    assert [int(line["graph"]) for line in lines] == list(range(20))
    for line in lines:
        assert int(line["prediction"]) == int(float(line["logit_1"]) > float(line["logit_0"]))


@pytest.mark.parametrize("bits", [3, 6])
def test_other_widths(bits: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    integer = ["plan=integer", "evaluate.engine=integer", "quant=int4", f"quant.bits={bits}"]
    run_all(load_configs([*RUN, "model=gcn", *integer, f"results.dir={tmp_path}"]), quiet=True)
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "row.json").read_text())["integer_agreement"] == 1.0
    assert main(["export", str(folder), "-o", str(tmp_path / "a.dqp")]) == 0
    assert f"int{bits}" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "a.dqp"), "--dataset", "threads", "-o", str(tmp_path / "p.csv")]) == 0
    assert len(predictions(tmp_path / "p.csv")) == 20
    linear = load_program(tmp_path / "a.dqp").summary(10, 20, 2).splitlines()[3].split()
    assert linear[:5] == ["linear", "layers.0.features", str(bits), str(bits), str(bits)]


def test_a_c_library_is_compared_with_its_judge(
    run_folder: Path, program_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run_folder), "--format", "c", "-o", str(tmp_path / "c"), "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path / 'c'}: gin_int4.h, gin_int4.c, main.c, CMakeLists.txt"
    assert "4 of 4 predictions agree; accuracy" in lines[2]
    assert re.fullmatch(r"C: not run.*|C \(cc\) beside fixed: 0 of \d{4,} bytes and logits differ", lines[3])
    words = ["export", program_file, "--format", "c", "-o", tmp_path / "d"]
    assert "--format c without --max-nodes and --max-edges must be given with a run" in failure(capsys, *words)
    assert main([*map(str, words), "--max-nodes", "9", "--max-edges", "9", "--name", "own"]) == 0
    assert (tmp_path / "d" / "own.c").exists()
    assert main(["export", str(run_folder), "-o", str(tmp_path / "a.dqp"), "--check"]) == 0
    assert "4 of 4 predictions agree" in capsys.readouterr().out


def test_a_library_with_other_numbers_is_a_failure(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_compiler() is None:
        pytest.skip("there is no C compiler")
    run = Compiled.run
    monkeypatch.setattr(Compiled, "run", lambda *given: run(*given) + 1)
    assert main(["export", str(run_folder), "--format", "c", "-o", str(tmp_path / "c"), "--check"]) == 1
    assert "must give the numbers of the fixed-point rule, got others: 8 of" in capsys.readouterr().err


def test_predictions_with_the_fixed_point_rule(
    run_folder: Path,
    program_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran, logits = [], {}
    run = FixedOperation.run
    monkeypatch.setattr(FixedOperation, "run", lambda *given: ran.append(given[0]) or run(*given))
    for rule in ("float64", "fixed"):
        words = ["--dataset", "threads", "--epilogue", rule, "-o", str(tmp_path / f"{rule}.csv")]
        assert main(["predict", str(program_file), *words]) == 0
        logits[rule] = [float(line["logit_0"]) for line in predictions(tmp_path / f"{rule}.csv")]
        assert len(ran) == (0 if rule == "float64" else len(load_program(program_file).operations))
    assert logits["fixed"] == pytest.approx(logits["float64"], abs=1e-5)
    line = failure(capsys, "predict", run_folder, "--dataset", "threads", "--epilogue", "fixed")
    assert line == "dqrun: --epilogue must be given with the file of a program alone, got 'fixed'"


Write = Callable[[Path], list[Path]]


def two_tables(folder: Path) -> list[Path]:
    (folder / "edges.csv").write_text("source,target\n1,0\n2,0\n3,0\n")
    np.save(folder / "x.npy", np.zeros((4, 1), dtype=np.float32))
    return [folder / "edges.csv", folder / "x.npy"]


def csv_tables(folder: Path) -> list[Path]:
    (folder / "edges.csv").write_text("source,target\n1,0\n2,0\n3,0\n")
    (folder / "x.csv").write_text("a\n0\n0\n0\n0\n")
    return [folder / "edges.csv", folder / "x.csv"]


def safetensors_file(folder: Path) -> list[Path]:
    tensors = {"edge_index": torch.tensor([[1, 2, 3], [0, 0, 0]]), "x": torch.zeros(4, 1)}
    save_file(tensors, folder / "graph.safetensors")
    return [folder / "graph.safetensors"]


def torch_file(folder: Path) -> list[Path]:
    torch.save({"edge_index": torch.tensor([[1, 2, 3], [0, 0, 0]]), "y": 3, "x": torch.zeros(4, 1)}, folder / "g.pt")
    return [folder / "g.pt"]


@pytest.mark.parametrize("write", [two_tables, csv_tables, safetensors_file, torch_file])
def test_predictions_on_files_of_the_user(program_file: Path, tmp_path: Path, write: Write) -> None:
    files = [str(path) for path in write(tmp_path)]
    assert main(["predict", str(program_file), "--dataset", *files, "-o", str(tmp_path / "p.csv")]) == 0
    (line,) = predictions(tmp_path / "p.csv")
    assert "target" not in line
    program = load_program(program_file)
    features = program.origin["features"]
    degree = torch.tensor([[3.0], [0.0], [0.0], [0.0]], dtype=torch.float64)  # the network's feature, as in training
    x = ((degree - features["mean"]) / features["divisor"]).float()
    logits = program(x, torch.tensor([[1, 2, 3], [0, 0, 0]]))
    assert [float(line["logit_0"]), float(line["logit_1"])] == pytest.approx(logits[0].tolist(), abs=1e-7)


def test_predictions_on_a_folder(program_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "graphs.csv").write_text("graph,label\n0,0\n1,1\n")
    (tmp_path / "nodes.csv").write_text("graph,node\n0,0\n0,1\n1,0\n")
    (tmp_path / "edges.csv").write_text("graph,source,target\n0,0,1\n")
    assert main(["predict", str(program_file), "--dataset", str(tmp_path)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "graph,prediction,logit_0,logit_1,target" and len(lines) == 2


def test_mistakes_of_predict(program_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def line(*arguments: object) -> str:
        return failure(capsys, "predict", *arguments)

    none, text = tmp_path / "none", tmp_path / "text.dqp"
    rule = "RUN must be a run folder with model.safetensors"
    assert line(none, "--dataset", "threads").startswith(f"dqrun: {rule}") and none.name in str(none)
    assert line(tmp_path, "--dataset", "threads").endswith(f"got {str(tmp_path)!r}; a program's file ends in .dqp")
    assert line(f"{none}.dqp", "--dataset", "threads").endswith(
        "must be a program file that can be read (no such file)"
    )
    text.write_text("not a program")
    foreign = f"dqrun: {text} is not a program file of format dqrun-program-5: dqrun export writes one"
    assert line(text, "--dataset", "threads") == foreign
    assert "--dataset must name a folder or file that is there (no such file), or one of threads, " in line(
        program_file, "--dataset", "nothing"
    )
    assert "e.csv: no such file" in line(program_file, "--dataset", tmp_path / "e.csv", tmp_path / "x.npy")
    assert "arguments are required: --dataset" in line(program_file)
    assert "--threads must be >= 1, got 0" in line(program_file, "--dataset", "threads", "--threads", 0)
    unwritable = tmp_path / "missing" / "p.csv"
    assert "-o must name a file" in line(program_file, "--dataset", "threads", "-o", unwritable)


def test_predict_imports_no_hydra_and_no_training_code(program_file: Path) -> None:
    code = (
        "import sys; from dqrun.cli import main; main(['predict', sys.argv[1], '--dataset', 'threads']);"
        "print([n for n in ('hydra', 'omegaconf', 'dqrun.training.loop', 'dqrun.nn', 'dqrun.quant')"
        " if n in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(program_file)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "[]"
