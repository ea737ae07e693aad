"""What is asked, as a command is told it."""

import io
import json
import sys

import pytest

from layerwise.cli.prompts import given_prompt, read_chat_args, read_text
from layerwise.errors import PromptError


@pytest.fixture
def piped(monkeypatch):
    """Let these bytes stand on standard input."""

    def pipe(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="latin-1"))

    return pipe


@pytest.mark.parametrize(
    ("content", "text", "said"),
    [
        (b"The capital is", "The capital is", ""),
        (b"The capital is\n", "The capital is", "the line end at its end was left out."),
        (b"Answer:\n\n", "Answer:\n", "the line end at its end was left out."),
        (b"The capital is ", "The capital is ", ""),
        ("\ufeffSão".encode(), "São", "the byte order mark in front was left out."),
        ("\ufeff\ufeffa".encode(), "\ufeffa", "the byte order mark in front was left out."),
        (
            b"\xef\xbb\xbfone\r\ntwo\r\n",
            "one\ntwo",
            "the byte order mark in front was left out, line ends with a carriage return (CRLF) were read as line "
            "feeds, the line end at its end was left out.",
        ),
        (b"one\rtwo", "one\ntwo", "line ends with a carriage return (CRLF) were read as line feeds."),
        (b"", "", ""),
    ],
)
def test_what_only_the_file_adds_is_left_out_and_that_is_said(tmp_path, piped, capsys, content, text, said):
    (tmp_path / "prompt.txt").write_bytes(content)
    assert given_prompt(None, str(tmp_path / "prompt.txt"), None, None) == text
    assert capsys.readouterr().err == (f"Read from {tmp_path / 'prompt.txt'}: {said}\n" if said else "")
    piped(content)
    assert given_prompt("-", None, None, None) == text
    assert capsys.readouterr().err == (f"Read from standard input: {said}\n" if said else "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Größe".encode("latin-1"), r"is not UTF-8 \(byte 2\), in which prompts are read\. Save it again"),
        ("The".encode("utf-16"), r"is not UTF-8 \(byte 0\).* It looks like UTF-16"),
    ],
)
def test_a_file_in_another_encoding_is_refused(tmp_path, content, said):
    (tmp_path / "prompt.txt").write_bytes(content)
    with pytest.raises(PromptError, match=said):
        read_text(str(tmp_path / "prompt.txt"))


@pytest.mark.parametrize("name", ["absent.txt", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(PromptError, match="cannot be read: "):
        read_text(str(tmp_path / name))
    with pytest.raises(PromptError, match="cannot be read: "):
        given_prompt(None, None, None, str(tmp_path / name))


@pytest.mark.parametrize("given", [(None,) * 4, ("a", "b", None, None), ("a", None, "1", None), (None, None, "1", "c")])
def test_there_is_one_prompt(given):
    with pytest.raises(PromptError, match="Give one prompt"):
        given_prompt(*given)


@pytest.mark.parametrize("text", ["1,2,3", " 1, 2, 3 ", "[1, 2, 3]", "1 2 3"])
def test_ids_are_whole_numbers(text):
    assert given_prompt(None, None, text, None) == [1, 2, 3]


@pytest.mark.parametrize("text", ["1,a", "-1", "1.5", "0x10", "[[1]]", "9" * 30])
def test_other_ids_are_refused(text):
    with pytest.raises(PromptError, match="should be whole numbers"):
        given_prompt(None, None, text, None)


TALK = [{"role": "user", "content": "Größe?"}, {"role": "assistant", "content": "In"}]


def test_a_conversation_is_json(tmp_path, piped):
    content = json.dumps(TALK, ensure_ascii=False).encode("utf-8-sig")
    (tmp_path / "talk.json").write_bytes(content)
    assert given_prompt(None, None, None, str(tmp_path / "talk.json")) == TALK
    piped(content)
    assert given_prompt(None, None, None, "-") == TALK


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON in UTF-8"),
        ("[" * 100_000, "is not JSON in UTF-8"),
        ('[{"role": "user", "content": "a", "content": "b"}]', "a key stands there twice"),
        ("[]", "should be a list of messages"),
        ('{"messages": []}', "should be a list of messages"),
        ('["a"]', "should be a list of messages"),
    ],
)
def test_a_file_that_is_no_conversation_is_refused(tmp_path, content, said):
    (tmp_path / "talk.json").write_text(content, encoding="utf-8")
    with pytest.raises(PromptError, match=said):
        given_prompt(None, None, None, str(tmp_path / "talk.json"))


def test_arguments_of_the_template_are_json_or_a_text():
    given = [
        "enable_thinking=false",
        "n=3",
        'x={"a": [1]}',
        "date=26 Jul 2024",
        'quoted="3"',
        "nan=NaN",
        "eq=a=b",
        "e=",
    ]
    assert read_chat_args(given) == {
        "enable_thinking": False,
        "n": 3,
        "x": {"a": [1]},
        "date": "26 Jul 2024",
        "quoted": "3",
        "nan": "NaN",
        "eq": "a=b",
        "e": "",
    }


@pytest.mark.parametrize(("given", "said"), [(["a"], "no value"), (["=1"], "no name"), (["a=1", "a=2"], "twice")])
def test_an_argument_without_a_name_or_twice_is_refused(given, said):
    with pytest.raises(PromptError, match=said):
        read_chat_args(given)


def test_a_conversation_through_the_command_line(layerwise, tmp_path, fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if not thinking %}(none){% endif %}"
    )
    hf_model.save_pretrained(tmp_path / "model")
    hf_tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "talk.json").write_text(json.dumps(TALK[:1]), encoding="utf-8")
    asked = ["trace", "--model", str(tmp_path / "model"), "--conversation", str(tmp_path / "talk.json"), "--json", "-"]
    code, out, _ = layerwise(*asked, "--chat-arg", "thinking=true")
    assert code == 0
    data = json.loads(out)
    assert data["prompt"] == "[user] Größe?\n"
    assert (data["request"]["prompt"], data["request"]["chat_args"]) == (TALK[:1], {"thinking": True})
    code, _, err = layerwise(*asked, "--chat-arg", "thinkin=true")
    assert code == 1
    assert "has no argument 'thinkin'" in " ".join(err.split())
