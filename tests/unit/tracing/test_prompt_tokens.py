"""Prompts of every kind: texts, token ids, conversations; and what a trace notes of them."""

import json
import unicodedata

import numpy as np
import pytest
import torch

import layerwise as lw
from layerwise.errors import PromptError, PromptWarning, StoreError
from layerwise.tracing.prepared_request import prepare
from layerwise.tracing.request import Message, Request, as_prompt
from layerwise.tracing.trace import Trace

PROMPT = "The capital of Germany is"
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}(no thought){% endif %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is Berlin?"},
    {"role": "assistant", "content": "Berlin is in"},
]


@pytest.fixture(scope="module")
def parts(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_tokenizer.chat_template = TEMPLATE
    return hf_model, hf_tokenizer


@pytest.fixture(scope="module")
def model(parts):
    return lw.load(parts[0], tokenizer=parts[1])


@pytest.fixture(scope="module")
def with_bos(load_family):
    return load_family("gemma2")


def ids_of(trace: Trace) -> list[int]:
    return [token.id for token in trace.tokens]


# Token ids.


@pytest.mark.parametrize("given", [list, tuple, np.array, torch.tensor])
def test_ids_are_read_exactly(model, given):
    asked = model.trace(PROMPT, answer=" Berlin")
    again = model.trace(given(ids_of(asked)), answer=" Berlin")
    assert (again.prompt, again.tokens) == (PROMPT, asked.tokens)
    assert again.answer.answers == asked.answer.answers
    assert np.array_equal(again.top_logprobs, asked.top_logprobs)


def test_nothing_is_put_before_ids(with_bos):
    asked = with_bos.trace(PROMPT)
    assert asked.tokens[0].text == "<bos>"
    bare = with_bos.trace(ids_of(asked)[1:])
    assert bare.tokens == asked.tokens[1:]
    assert np.array_equal(with_bos.trace(ids_of(asked)).top_ids, asked.top_ids)


@pytest.fixture(scope="module")
def sampled(model):
    """Ids that no tokenizer writes: a word letter by letter."""
    encode = model._loaded.tokenizer.encode
    return [i for letter in "The" for i in encode(letter)] + list(encode(" capital"))


def test_text_behind_ids_that_the_tokenizer_would_not_write_is_refused(model, sampled):
    assert model.trace(sampled).prompt == "The capital"
    with pytest.raises(PromptError, match=r"with other ids, from token 0 on.*as token ids too"):
        model.trace(sampled, answer=" of")


def test_answers_may_be_ids(model, sampled):
    encode = model._loaded.tokenizer.encode
    of, france = encode(" of"), encode(" France")
    trace = model.trace(sampled, answer=[*of, *france], alternatives=[list(of)])
    [answer] = trace.answer.answers
    assert (answer.text, answer.ids, answer.deciding_index) == (" of France", (*of, *france), len(of))
    several = model.trace(PROMPT, answer=[list(of), " France"])
    assert [each.text for each in several.answer.answers] == [" of", " France"]
    by_text = model.trace(PROMPT, answer=(" of", " France"))
    assert np.array_equal(several.answer.logprob, by_text.answer.logprob)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([], "list of token ids is empty"),
        ([0, 10**6], "1000000 is the id of no token of this model: it has embeddings for ids from 0 to "),
        ([0, -1], "-1 is the id of no token"),
        ([1.5], "got list of float"),
        ([True], "got list of bool"),
        ([[1, 2]], "got list of list"),
        (
            ["a", "b"],
            "A prompt is a text, a list of token ids, or a list of messages .* got list of str. Trace several",
        ),
        ([1, "a"], "got list of int, str"),
        (b"a", "got bytes"),
        (bytearray(b"a"), "got bytearray"),
        (memoryview(b"a"), "got memoryview"),
        (None, "got NoneType"),
        (3, "got int"),
        ({"role": "user", "content": "a"}, "got dict"),
        ([{"role": "user", "content": "a"}, 1], "got list of dict, int"),
    ],
)
def test_what_is_no_prompt_is_refused_by_its_kind(model, prompt, said):
    request = Request("")
    object.__setattr__(request, "prompt", as_prompt(prompt))  # the tests' type checker would stop at most of these
    with pytest.raises(PromptError, match=said):
        prepare(model._loaded, request)


@pytest.mark.parametrize("answer", [[[]], [10**6]])
def test_what_is_no_answer_is_refused(model, answer):
    with pytest.raises(PromptError, match=r"one or more token ids|is the id of no token"):
        model.trace(PROMPT, answer=answer)


@pytest.mark.parametrize("more", [{"chat": True}, {"system": "Be brief"}, {"chat_args": {"enable_thinking": False}}])
def test_ids_are_in_no_conversation(model, more):
    with pytest.raises(PromptError, match=r"conversation|no chat template"):
        model.trace([1, 2], **more)


# Conversations.


@pytest.mark.parametrize("count", [2, 3])
def test_a_conversation_has_the_ids_that_transformers_gives_it(model, parts, count):
    goes_on = count == 3
    expected = parts[1].apply_chat_template(
        TALK[:count], add_generation_prompt=not goes_on, continue_final_message=goes_on, return_dict=False
    )
    trace = model.trace(TALK[:count], answer=" Germany")
    assert ids_of(trace) == expected
    assert trace.prompt.endswith("[assistant] Berlin is in" if goes_on else "[assistant]")


def test_one_question_in_the_template_is_a_conversation_of_one(model):
    one = model.trace(TALK[1]["content"], chat=True, system=TALK[0]["content"])
    assert ids_of(one) == ids_of(model.trace(TALK[:2]))


def test_arguments_reach_the_template(model):
    trace = model.trace("Where is Berlin?", chat=True, chat_args={"enable_thinking": False})
    assert trace.prompt == "[user] Where is Berlin?\n(no thought)[assistant]"
    with pytest.raises(PromptError, match="no argument 'thinking'"):
        model.trace("Where is Berlin?", chat=True, chat_args={"thinking": False})


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "user"}], "Message 1 of the conversation should have a role and a content"),
        ([TALK[1], {"role": "user", "content": None}], "Message 2 .* content: NoneType"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], "Message 1 .* content: list"),
        ([{"role": "user", "content": "a", "name": "x"}], "Message 1 .* name: str"),
        ([TALK[1], {"role": "assistant", "content": " "}], r"Message 2 of the conversation \(assistant\) says nothing"),
    ],
)
def test_a_message_that_says_something_else_is_named(model, messages, said):
    with pytest.raises(PromptError, match=said):
        model.trace(messages)


def test_a_system_message_stands_in_the_conversation(model):
    with pytest.raises(PromptError, match="add it to its messages, as the first one"):
        model.trace(TALK[1:], system="Be brief.")


@pytest.mark.parametrize("arguments", [{"a": object()}, {"a": float("nan")}, {"a": {1, 2}}])
def test_arguments_that_no_trace_could_keep_are_refused(arguments):
    with pytest.raises(PromptError, match="values that JSON has"):
        Request("a", chat=True, chat_args=arguments)


# What is noted, and what is stored.


def test_a_prompt_with_something_unseen_is_warned_of_and_noted(model):
    with pytest.warns(PromptWarning, match=r"The prompt ends in U\+00A0 \(no-break space\)"):
        trace = model.trace(PROMPT + "\u00a0", answer=" Berlin")
    [note] = trace.notes
    assert note in lw.show(trace).document["traces"][0]["warnings"]
    assert model.trace(PROMPT, answer=" Berlin").notes == ()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": PROMPT, "answers": (unicodedata.normalize("NFD", " Zürich"),)}, "The answer ' Zu"),
        (
            {"prompt": PROMPT, "answers": (" Paris",), "alternatives": ("\u00a0Rome",)},
            "The alternative '\\xa0Rome' begins",
        ),
        ({"prompt": "\ufeffHello", "chat": True}, "The user's message begins with U+FEFF (byte order mark)"),
        ({"prompt": "Hello", "chat": True, "system": "Hi\u200b"}, "The system's message ends in U+200B"),
        (
            {"prompt": [*TALK[1:2], {"role": "assistant", "content": "In\u2060"}]},
            "The assistant's message ends in U+2060",
        ),
    ],
)
def test_every_text_that_is_read_is_looked_at(model, asked, said):
    [[trace]] = model.trace_all([Request(**asked)])
    assert trace.notes[0].startswith(said)


def test_what_a_tokenizer_itself_composes_is_not_noted(fresh_parts):
    from tokenizers import normalizers

    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    trace = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT, answer=unicodedata.normalize("NFD", " Zürich"))
    assert trace.notes == ()


ASKED = [
    {"prompt": TALK, "chat_args": {"enable_thinking": False}, "answers": (" Germany",), "alternatives": (" France",)},
    {"prompt": [5, 6, 7], "answers": ([8, 9],), "alternatives": ([8, 10],), "wrong": [8, 10]},
    {"prompt": "Hi", "chat": True, "system": "Be brief.", "chat_args": {"enable_thinking": {"a": [1, None, "x"]}}},
    {"prompt": PROMPT + "\u00a0"},
]


@pytest.mark.parametrize("asked", ASKED)
def test_a_stored_trace_has_its_whole_request_and_its_notes(model, asked, tmp_path):
    [[trace]] = model.trace_all([Request(**asked)])
    trace.save(tmp_path / "trace.json")
    read = Trace.open(tmp_path / "trace.json")
    assert (read, read.request, read.notes) == (trace, Request(**asked), trace.notes)
    [[again]] = model.trace_all([read.request])
    assert again.tokens == trace.tokens


def test_messages_are_stored_as_they_are_given(model, tmp_path):
    model.trace(TALK).save(tmp_path / "trace.json")
    stored = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    assert stored["request"]["prompt"] == TALK
    assert Request(TALK).prompt == tuple(Message(**message) for message in TALK)


def test_traces_stored_before_there_were_notes_and_arguments_open(model, tmp_path):
    trace = model.trace(PROMPT)
    trace.save(tmp_path / "trace.json")
    stored = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    del stored["notes"], stored["request"]["chat_args"]
    (tmp_path / "old.json").write_text(json.dumps(stored), encoding="utf-8")
    assert Trace.open(tmp_path / "old.json") == trace


@pytest.mark.parametrize("prompt", [[], [True], [{"role": "user"}], [1, "a"], {"a": 1}, None])
def test_a_stored_request_with_no_prompt_is_refused(model, prompt, tmp_path):
    model.trace(PROMPT).save(tmp_path / "trace.json")
    stored = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    stored["request"]["prompt"] = prompt
    (tmp_path / "trace.json").write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(StoreError, match="begins like a trace"):
        Trace.open(tmp_path / "trace.json")
