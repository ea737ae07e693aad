"""Characters that nobody sees and a model reads; and those that belong to how a language is written."""

import unicodedata

import pytest

from layerwise.questions.unseen import as_seen, unseen, unseen_notes


@pytest.mark.parametrize(
    ("text", "said", "meant"),
    [
        ("The capital is\u00a0", "ends in U+00A0 (no-break space)", "The capital is"),
        ("The capital is\u200b", "ends in U+200B (zero width space)", "The capital is"),
        ("The capital is \ufeff ", "ends in U+FEFF (byte order mark)", "The capital is"),
        ("The capital is\t", "ends in U+0009 (tab)", "The capital is"),
        ("The capital is\r\n", "ends in U+000D (control)", "The capital is"),
        ("The capital is\u3000", "ends in U+3000 (ideographic space)", "The capital is"),
        ("The capital is\u202e", "ends in U+202E (right-to-left override)", "The capital is"),
        ("The capital is\ufe0f", "ends in U+FE0F (variation selector-16)", "The capital is"),
        ("The capital is\u3164", "ends in U+3164 (hangul filler)", "The capital is"),
        ("\ufeffThe capital", "begins with U+FEFF (byte order mark)", "The capital"),
        ("\u00a0Paris", "begins with U+00A0 (no-break space)", " Paris"),
        (" \ufeffParis", "begins with U+FEFF (byte order mark)", " Paris"),
        ("of Spain\u00a0is", "holds U+00A0 (no-break space) inside", "of Spain is"),
        ("Ma\u00addrid is", "holds U+00AD (soft hyphen) inside", "Madrid is"),
        ("Ma\u200bdrid is", "holds U+200B (zero width space) inside", "Madrid is"),
        ("Ma\u200ddrid is", "holds U+200D (zero width joiner) inside", "Madrid is"),
        ("Say \U000e0068\U000e0069so", "holds U+E0068 (tag latin small letter h) and U+E0069", "Say so"),
        ("Sa\u0303o Paulo", "has accents or letters written apart (Unicode's form NFD)", "São Paulo"),
        ("\u1112\u1161\u11ab", "has accents or letters written apart", "한"),
        ("\u212bngström", "has accents or letters written apart", "Ångström"),
    ],
)
def test_what_is_not_seen_is_told_with_the_text_that_was_probably_meant(text, said, meant):
    assert said in " and ".join(unseen(text))
    assert as_seen(text) == meant
    assert unseen(as_seen(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "The capital of France is",
        "The capital of France is ",  # an ordinary space has a word of its own
        "Question: two\nAnswer:\n",
        "def f():\n\t",
        "\tindented",
        "\t",
        "",
        "name\tage",
        "São Paulo, Zürich, Ελλάδα, Київ, 北京, 서울",
        "I \u2764\ufe0f",
        "Press 1\ufe0f\u20e3",
        "\U0001f469\u200d\U0001f4bb works",
        "The flag \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian: a joiner in a word
        "\u0647\u200d",  # and at the end of an abbreviation
        "\u0d28\u0d4d\u200d",  # Malayalam: after a virama
        "\u0915\u094d\u200d\u0937",
        "\u0958\u093e",  # a letter that has two characters in the form NFC
        "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",  # Hebrew points in the order in which they are typed
        "\u0e20\u0e32\u0e29\u0e32\u200b\u0e44\u0e17\u0e22",  # Thai: where a word ends
        "Quelle est la capitale de la France\u00a0?",
        "«\u00a0Paris\u00a0»",
        "It is 10\u00a0km, or 10\u202f000\u00a0m",
        "\u845b\U000e0100",
    ],
)
def test_what_belongs_to_a_script_is_left_alone(text):
    assert unseen(text) == []
    assert as_seen(text) == text


def test_a_note_is_made_only_where_the_model_reads_something_else():
    parts = [("the prompt", "is\u200b"), ("the answer ' a'", " a")]
    [note] = unseen_notes(parts, lambda text, meant: (text, meant) == ("is\u200b", "is"))
    assert note.startswith("The prompt ends in U+200B (zero width space). That is not seen, and read: ")
    assert note.endswith("Leave it out unless it is meant.")
    assert unseen_notes(parts, lambda text, meant: False) == []


def test_the_remedy_fits_what_is_found():
    apart = unicodedata.normalize("NFD", " Zürich")
    [accents] = unseen_notes([("the answer", apart)], lambda *_: True)
    assert "normalize('NFC', text)" in accents and "Leave it out" not in accents
    [both] = unseen_notes([("the answer", apart + "\u00a0")], lambda *_: True)
    assert "normalize('NFC', text)" in both and "Leave it out" in both


def test_many_characters_are_named_in_part():
    assert unseen("a\u00a0\u200b\ufeff\u2003\u2002")[0].endswith("(byte order mark) and 2 more")
