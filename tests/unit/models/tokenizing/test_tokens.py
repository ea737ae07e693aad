import pytest
from tokenizers import processors

from layerwise.errors import PromptError
from layerwise.models.tokenizing.tokens import Tokenizer


@pytest.fixture(scope="module")
def byte_level(toy_tokenizer):
    return Tokenizer(toy_tokenizer(sentencepiece=False, bos=False))


@pytest.fixture(scope="module")
def sentencepiece(toy_tokenizer):
    """As Llama 2 and Mistral have it: decoding strips the first token's leading space."""
    return Tokenizer(toy_tokenizer(sentencepiece=True, bos=True))


@pytest.fixture(params=["byte_level", "sentencepiece"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


def test_leading_space_belongs_to_a_tokens_text(tokenizer):
    ids = tokenizer.encode("The capital of Germany", special=False)[1:]
    assert [token.text for token in tokenizer.tokens(ids)] == [" capital", " of", " Germany"]


def test_the_plain_decoder_would_have_lost_that_space(sentencepiece):
    """Guards the test above: if the toy tokenizer stops stripping, it no longer tests anything."""
    [german] = sentencepiece.encode("Germany", special=False)
    assert sentencepiece.hf.decode([german]) == "Germany"
    assert sentencepiece.text_of(german) == " Germany"


def test_bos_is_what_the_tokenizer_adds_by_itself(byte_level, sentencepiece):
    assert sentencepiece.tokens(sentencepiece.encode("The"))[0].text == "<bos>"
    assert "<bos>" not in [t.text for t in sentencepiece.tokens(sentencepiece.encode("The", special=False))]
    assert byte_level.encode("The") == byte_level.encode("The", special=False)


def test_special_tokens_read_as_their_name(tokenizer):
    assert tokenizer.text_of(tokenizer.end_id) == "<eos>"
    assert tokenizer.end_id in tokenizer.special_ids


@pytest.mark.parametrize("character", ["→", "é", "日"])
def test_part_of_a_character_is_written_as_its_bytes(tokenizer, character):
    ids = tokenizer.encode(character, special=False)
    texts = [text for text in (tokenizer.text_of(i) for i in ids) if text not in ("", " ")]
    assert texts == [f"\\x{byte:02x}" for byte in character.encode()]


def test_ids_beyond_the_tokenizer_are_unused_padding(tokenizer):
    assert tokenizer.text_of(len(tokenizer.hf) + 7) == f"<unused {len(tokenizer.hf) + 7}>"


def test_every_id_has_a_text(tokenizer):
    texts = [tokenizer.text_of(i) for i in range(len(tokenizer.hf))]
    assert all(texts)
    assert all("\ufffd" not in text for text in texts)


def test_texts_join_to_the_prompt(tokenizer):
    prompt = "The capital of France is Paris. 2 + 2 = 4"
    texts = [t.text for t in tokenizer.tokens(tokenizer.encode(prompt, special=False))]
    assert "".join(texts).removeprefix(" ") == prompt


def test_chat_without_a_template_is_refused(byte_level):
    with pytest.raises(PromptError, match=r"no chat template.*--chat"):
        byte_level.render_chat("Hello", None)


def test_chat_is_rendered_by_the_models_template(toy_tokenizer):
    hf = toy_tokenizer(sentencepiece=False, bos=False)
    hf.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"
    assert Tokenizer(hf).render_chat("Hi", "Be brief") == "[system] Be brief\n[user] Hi\n[assistant]"
    assert Tokenizer(hf).render_chat("Hi", None) == "[user] Hi\n[assistant]"


@pytest.mark.parametrize("template", ["{{ raise_exception('no system here') }}", "{% if %}", "{{ messages[9].x }}"])
def test_a_template_that_refuses_is_quoted(toy_tokenizer, template):
    hf = toy_tokenizer(sentencepiece=False, bos=False)
    hf.chat_template = template
    with pytest.raises(PromptError, match=r"template refused"):
        Tokenizer(hf).render_chat("Hi", "Be brief")


@pytest.fixture
def appending(toy_tokenizer):
    """Adds BOS before and EOS after every text, as with add_eos_token."""
    hf = toy_tokenizer(sentencepiece=True, bos=True)
    hf.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[(name, hf.convert_tokens_to_ids(name)) for name in ("<bos>", "<eos>")]
    )
    return Tokenizer(hf)


@pytest.mark.parametrize("text", ["The capital", "The capital<eos>", "<eos>", ""])
def test_what_the_tokenizer_appends_by_itself_is_left_off(appending, sentencepiece, text):
    assert appending.hf(text)["input_ids"][-1] == appending.end_id
    assert appending.encode(text) == sentencepiece.encode(text)
    assert appending.encode(text, special=False) == sentencepiece.encode(text, special=False)


@pytest.mark.parametrize("text", ["\ud83d", "caf\udce9", "ends \udfff"])
def test_text_that_is_no_unicode_is_refused(tokenizer, text):
    with pytest.raises(PromptError, match=rf"not valid Unicode: its character {len(text) - 1} ") as caught:
        tokenizer.encode(text)
    str(caught.value).encode()


def test_characters_beyond_the_basic_plane_are_taken(tokenizer):
    assert tokenizer.encode("\U0001f600")


def test_a_token_without_an_embedding_is_named(toy_tokenizer):
    hf = toy_tokenizer(sentencepiece=False, bos=False)
    rows = len(hf)
    hf.add_tokens(["<new>"])
    with pytest.raises(PromptError, match=rf"token '<new>' has id {rows}, .* ids below {rows} only"):
        Tokenizer(hf, rows).encode("The <new>")
    assert Tokenizer(hf, rows + 1).encode("The <new>")[-1] == rows
    assert Tokenizer(hf, rows).encode("The")
