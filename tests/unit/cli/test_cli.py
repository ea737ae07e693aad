"""The command line: results on stdout, messages on stderr, exit 0 only when the job was done."""

import json
import re
import shlex
import subprocess
import sys
import warnings
from importlib.metadata import version

import pytest
import torch
from safetensors.torch import load_file, save_file

import layerwise as lw
from layerwise.cli.app import app, run_app

PROMPT = "The capital of Germany is"


@pytest.fixture
def folder(family_folder):
    return str(family_folder("qwen3"))


def test_help_does_not_import_what_takes_seconds():
    code = "import sys, layerwise.cli.app; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_command_has_help_with_an_example(layerwise):
    def commands(group, path=()):
        for command in group.registered_commands:
            yield (*path, command.name)
        for inner in group.registered_groups:
            yield from commands(inner.typer_instance, (*path, inner.name))

    found = list(commands(app))
    assert ("trace",) in found
    assert ("reference", "compare") in found
    for path in found:
        code, out, _ = layerwise(*path, "--help")
        assert code == 0
        assert "Example: layerwise" in " ".join(out.split()), path


def test_a_trace_prints_every_layer_and_its_check(layerwise, folder):
    code, out, _ = layerwise("trace", PROMPT, "--model", folder, "--answer", " Berlin", "--quiet")
    assert code == 0
    rows = [line for line in out.splitlines() if line.strip().split(" ")[0].isdigit()]
    assert len(rows) == 5
    assert "␣Germany" in out
    assert "checked on this prompt" in out


def test_json_on_stdout_is_the_contract(layerwise, folder):
    code, out, _ = layerwise(
        "trace",
        PROMPT,
        "--model",
        folder,
        "--answer",
        " Berlin",
        "--track",
        " capital",
        "--positions",
        "all",
        "--json",
        "-",
    )
    assert code == 0
    data = json.loads(out)
    assert data["prompt"] == PROMPT
    assert data["n_layers"] == 4
    assert (data["lens"], data["dtype"], data["device"]) == ("logit", "float32", "cpu")
    assert {"id", "text"} <= data["tokens"][0].keys()
    assert {"text", "tokens", "deciding_index"} <= data["answer"].keys()
    assert [layer["layer"] for layer in data["layers"]] == [0, 1, 2, 3, 4]
    assert data["layers"][2]["depth"] == 0.5
    cells = data["layers"][-1]["positions"]
    assert [cell["position"] for cell in cells] == list(range(len(data["tokens"])))
    last = cells[-1]
    assert {"id", "text", "prob", "logprob"} == last["top"][0].keys()
    assert {"entropy_bits", "kl_to_final_bits", "kl_from_final_bits"} <= last.keys()
    assert {"prob", "rank", "first_token_prob", "first_token_rank", "logprob"} <= last["answer"].keys()
    assert all(cell["answer"] is None for cell in cells[:-1])
    assert [token["id"] for token in data["output"]] == [token["id"] for token in last["top"]]
    assert data["checks"]["identity_error"] <= data["checks"]["identity_limit"]


def test_a_set_and_a_later_token_are_labelled_as_what_they_are(layerwise, folder):
    _, out, _ = layerwise("trace", PROMPT, "--model", folder, "--answer", " Paris", "--answer", " Berlin")
    assert "p(␣Paris or ␣Berlin)" in out
    arguments = ["--answer", " Berlin Germany", "--alternative", " Berlin Paris"]
    _, out, _ = layerwise("trace", PROMPT, "--model", folder, *arguments)
    assert "p(␣Germany after ␣Berlin)" in out


def test_the_raw_lens_is_not_called_the_output(layerwise, folder):
    _, out, _ = layerwise("trace", PROMPT, "--model", folder, "--answer", " Berlin", "--lens", "raw")
    assert "whole answer at layer 4 of the raw lens" in out
    assert "The raw lens's last layer is not the output" in " ".join(out.split())


def test_a_prompt_from_a_pipe_loses_the_line_end_that_echo_adds(layerwise, folder, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(PROMPT + "\n"))
    data = json.loads(layerwise("trace", "-", "--model", folder, "--json", "-")[1])
    assert data["prompt"] == PROMPT


def test_a_lens_that_is_given_twice_is_shown_once_and_that_is_said(layerwise, folder):
    code, out, err = layerwise("trace", PROMPT, "--model", folder, "--lens", "raw", "--lens", "logit", "--lens", "raw")
    assert code == 0
    assert (out.count("raw lens\n"), out.count("logit lens\n")) == (1, 1)
    assert "--lens raw was given more than once, and is shown once." in err


def test_what_nobody_sees_in_a_prompt_is_warned_of(layerwise, folder):
    code, out, err = layerwise("trace", PROMPT + "\u00a0", "--model", folder, "--answer", " Berlin", "--json", "-")
    assert code == 0
    assert "Warning: The prompt ends in U+00A0 (no-break space)." in err
    assert json.loads(out)["notes"] == [err.split("Warning: ")[1].splitlines()[0]]


def test_json_without_an_answer_says_null(layerwise, folder):
    data = json.loads(layerwise("trace", PROMPT, "--model", folder, "--json", "-")[1])
    assert data["answer"] is None
    assert data["layers"][0]["positions"][0]["answer"] is None


def test_json_to_a_file_opens_as_a_trace(layerwise, folder, tmp_path):
    import layerwise as lw

    code, out, _ = layerwise("trace", PROMPT, "--model", folder, "--json", str(tmp_path / "t.json"))
    assert (code, out) == (0, "")
    assert lw.Trace.open(tmp_path / "t.json").prompt == PROMPT


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([""], "The prompt is empty"),
        (["a " * 5000], "this model was built for"),
        ([PROMPT, "--answer", ""], "tokenises to nothing"),
        (["Answer: ", "--answer", "Berlin"], "merges with the end of the prompt"),
        ([PROMPT, "--positions", "99"], "names none of this prompt's"),
        ([PROMPT, "--lens", "crystal"], "Unknown lens"),
        ([PROMPT, "--lens", "tuned"], "There is no tuned lens of"),
        ([PROMPT, "--system", "be brief"], "add --chat"),
        ([PROMPT, "--alternative", " Paris"], "Add an answer"),
        ([PROMPT, "--device", "tpu"], "Unknown device"),
        ([PROMPT, "--dtype", "int4"], "Unknown dtype"),
    ],
)
def test_bad_input_is_one_message_and_a_code_of_its_own(layerwise, folder, tmp_path, arguments, expected):
    target = tmp_path / "out.json"
    code, out, err = layerwise("trace", *arguments, "--model", folder, "--json", str(target))
    assert code == 1
    assert out == ""
    assert expected in " ".join(err.split())
    assert "Traceback" not in err
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gemma3-270m", "gemma-3-270m"), ("./nowhere", "no file or folder"), ("smollm-135m", "smollm2-135m")],
)
def test_an_unknown_model_is_named_with_near_matches(layerwise, name, expected):
    code, _, err = layerwise("trace", PROMPT, "--model", name)
    assert code == 1
    assert expected in " ".join(err.split())


def test_the_version_is_told(layerwise):
    assert layerwise("--version")[:2] == (0, f"layerwise {version('layerwise')}\n")


def test_an_answer_without_its_space_is_asked_about(layerwise, folder):
    output = lw.load(folder).trace(PROMPT, top_k=50).output
    leads = next(token.text for token in output if token.text[0] == " " and token.text[1:].isalpha())
    _, out, _ = layerwise("trace", PROMPT, "--model", folder, "--top-k", "50", "--answer", leads.strip())
    assert f"was ␣{leads.strip()} meant?" in " ".join(out.split())
    _, out, _ = layerwise("trace", PROMPT, "--model", folder, "--top-k", "50", "--answer", leads)
    assert "meant?" not in out


def test_interrupted_before_anything_was_stored_is_said(layerwise, tmp_path, monkeypatch):
    def interrupted(*_arguments, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr("layerwise.execution.recording.carry_out", interrupted)
    study = tmp_path / "study.toml"
    study.write_text(f'name = "toy"\ntitle = "Toy"\nmodels = ["m"]\n[[questions]]\nid = "a"\nprompt = "{PROMPT}"\n')
    code, _, err = layerwise("run", str(study), "--out", str(tmp_path / "run"))
    assert code == 130
    assert "before anything was stored" in err


def test_debug_shows_the_traceback(monkeypatch, folder):
    from layerwise.errors import PromptError

    monkeypatch.setattr(sys, "argv", ["layerwise", "trace", "", "--model", folder, "--debug"])
    with pytest.raises(PromptError):
        run_app()


def test_a_table_shows_the_first_tokens_of_many_and_json_has_all(layerwise, folder, tmp_path):
    arguments = ("trace", PROMPT, "--model", folder, "--top-k", "500")
    _, out, err = layerwise(*arguments)
    assert "… and 450 more tokens at every layer. --json FILE writes everything." in err
    assert len(out.splitlines()) < 20
    layerwise(*arguments, "--json", str(tmp_path / "t.json"))
    assert len(lw.Trace.open(tmp_path / "t.json").top()) == 500
    assert "more tokens" not in layerwise(*arguments[:-1], "50")[2]


def test_a_hostile_prompt_cannot_steer_the_terminal(layerwise, folder):
    code, out, err = layerwise("trace", "The \x1b[2J\x1b]0;owned\x07 \u202e capital", "--model", folder)
    assert code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(out + err)
    assert "\\u{1b}" in out


def test_a_study_runs_reports_resumes_and_verifies(layerwise, folder, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "toy"\ntitle = "Toy"\nmodels = ["replaced"]\nlenses = ["logit", "raw"]\n'
        f'[[questions]]\nid = "a"\nprompt = "{PROMPT}"\nanswers = [" Berlin"]\n'
    )
    out = str(tmp_path / "run")
    code, printed, _ = layerwise("run", str(study), "--model", folder, "--out", out)
    assert code == 0
    assert "␣Berlin" in printed
    assert f"Report: {tmp_path / 'run' / 'report.md'}" in printed.splitlines()
    told = printed.splitlines()[-1].partition(": layerwise ")[2]
    view = tmp_path / "view.html"
    assert layerwise(*shlex.split(told.replace("view.html", str(view))))[0] == 0
    assert view.is_file(), "the command that was told writes it"
    assert layerwise("run", str(study), "--model", folder, "--out", out)[0] == 1
    assert layerwise("run", str(study), "--model", folder, "--out", out, "--resume")[0] == 0
    assert layerwise("runs", "verify", out)[0] == 0
    code, listed, _ = layerwise("runs", "list", str(tmp_path))
    assert (code, "complete" in listed) == (0, True)
    code, said, _ = layerwise("reference", "compare", out, "--csv", str(tmp_path / "all.csv"))
    assert code == 0
    assert "Nothing was published about this model" in " ".join(said.split())
    code, _, _ = layerwise("runs", "report", out, "--out", str(tmp_path / "report"))
    assert (tmp_path / "report" / "report.md").read_bytes() == (tmp_path / "run" / "report.md").read_bytes()
    (tmp_path / "file").write_text("")
    code, _, err = layerwise("reference", "compare", out, "--csv", str(tmp_path / "file" / "x.csv"))
    assert (code, "could not be written" in err) == (1, True)
    next((tmp_path / "run").rglob("*.parquet")).write_bytes(b"PAR1")
    code, _, err = layerwise("runs", "verify", out)
    assert (code, "not what was written" in " ".join(err.split())) == (1, True)


def test_a_study_with_a_wrong_key_is_refused_before_anything_is_written(layerwise, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('name = "x"\ntitle = "X"\nmodels = ["a"]\nquestion = []\n')
    code, _, err = layerwise("run", str(study), "--out", str(tmp_path / "run"))
    assert code == 1
    assert "question: is no key of a study" in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_models_lists_what_is_known(layerwise):
    code, out, _ = layerwise("models", "list")
    assert code == 0
    for name in ("gemma-3-270m", "smollm2-135m", "qwen3-8b", "google/gemma-2-9b"):
        assert name in out


def test_models_shows_a_folder(layerwise, folder):
    code, out, _ = layerwise("models", "show", folder)
    assert code == 0
    assert "Qwen3ForCausalLM" in out


def test_lenses_are_printed_one_below_the_other_and_share_a_view(layerwise, folder, tmp_path):
    both = ("trace", PROMPT, "--model", folder, "--lens", "logit", "--lens", "raw", "--quiet")
    code, out, _ = layerwise(*both)
    assert code == 0
    assert [line.rsplit(" · ", 1)[1] for line in out.splitlines() if line.endswith(" lens")] == [
        "logit lens",
        "raw lens",
    ]
    code, out, _ = layerwise(*both, "--html", str(tmp_path / "both.html"))
    assert (code, out) == (0, "")
    document = (tmp_path / "both.html").read_text("utf-8").rpartition('id="lw-document">')[2].partition("</script>")[0]
    assert [trace["lens"] for trace in json.loads(document)["traces"]] == ["logit", "raw"]


def test_a_json_file_holds_one_lens(layerwise, folder):
    code, _, err = layerwise("trace", PROMPT, "--model", folder, "--lens", "logit", "--lens", "raw", "--json", "-")
    assert code == 1
    assert "A JSON file holds one lens's trace, and 2 were asked for" in err


def test_weights_that_are_left_out_are_said_in_one_line(tmp_path, fresh_parts, capsys, monkeypatch):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_model.save_pretrained(tmp_path)
    hf_tokenizer.save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    save_file(held | {"vision_tower.norm.weight": torch.ones(4)}, tmp_path / "model.safetensors")
    monkeypatch.setattr(sys, "argv", ["layerwise", "trace", "The capital", "--model", str(tmp_path), "--quiet"])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings(), pytest.raises(SystemExit) as done:
        warnings.simplefilter("always")
        run_app()
    assert not done.value.code
    said = [line for line in capsys.readouterr().err.splitlines() if "vision_tower" in line]
    assert len(said) == 1
    assert re.fullmatch(
        r"Warning: 1 weights in the files of .* are no part of .*: vision_tower\.norm\.weight\.", said[0]
    )
