import builtins
import json
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from layerwise.errors import MissingDependencyError, TextError
from layerwise.fitting.text.reading import read_documents


def test_a_text_file_is_one_document(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("One.\n\nTwo.\n", encoding="utf-8-sig")
    assert read_documents([file, file]) == ["One.\n\nTwo.\n"] * 2


@pytest.mark.parametrize("field", ["text", "content"])
def test_each_line_of_json_lines_is_one_document(tmp_path, field):
    file = tmp_path / "a.jsonl"
    rows = [{field: "One.\u2028still one"}, {field: ""}, {field: None}, {field: "Two."}]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    assert [text for text in read_documents([file], field) if text] == ["One.\u2028still one", "Two."]


def test_each_row_of_parquet_is_one_document(tmp_path):
    file = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["One.", None, "Two."], "id": [1, 2, 3]}).to_parquet(file)
    assert read_documents([file]) == ["One.", "Two."]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b" \n", "has no text in it"),
        ("a.jsonl", b"", "has no text in it"),
        ("a.txt", b"PK\x03\x04\0\0", "is binary"),
        ("a.txt", b"Stra\xdfe\n", r"is not UTF-8: byte 4 \(line 1\)"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "line 2 is no JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is list, where an object"),
        ("a.jsonl", b'{"body": "a"}\n', "has no field 'text'; it has body.*--text-field"),
        ("a.jsonl", b'{"text": 3}\n', "'text' holds int"),
        ("a.jsonl", b"[" * 100_000, "line 1 is no JSON"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, name, content, said):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(TextError, match=said):
        read_documents([file])


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    file = tmp_path / "a.parquet"
    pd.DataFrame({"body": ["One."]}).to_parquet(file)
    with pytest.raises(TextError, match="no field 'text'; it has body"):
        read_documents([file])


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(TextError, match="is a folder, and text is read from files"):
        read_documents([tmp_path])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TextError, match="cannot be read: No such file"):
        read_documents([tmp_path / "none.txt"])


def test_a_data_set_on_the_hub_is_read_row_by_row(monkeypatch):
    asked = []

    def load_dataset(name, config, *, split, streaming):
        asked.append((name, config, split, streaming))
        return iter([{"text": "One."}, {"text": "Two."}])

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert read_documents(["hub:owner/name/config:validation"]) == ["One.", "Two."]
    assert read_documents(["hub:name"]) == ["One.", "Two."]
    assert asked == [("owner/name", "config", "validation", True), ("name", None, "train", True)]


def test_without_the_package_for_data_sets_it_is_said_how_to_get_it(monkeypatch):
    usual = builtins.__import__

    def fail(name, *rest, **more):
        if name == "datasets":
            raise ModuleNotFoundError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(MissingDependencyError, match="pip install datasets"):
        read_documents(["hub:owner/name"])


def test_what_the_hub_says_is_passed_on_with_what_to_do(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(TextError, match=r"ConnectionError: no network.*--self-text"):
        read_documents(["hub:owner/name"])


def test_a_name_of_no_data_set_is_refused():
    with pytest.raises(TextError, match="the form is hub:OWNER/NAME"):
        read_documents(["hub:a b"])
