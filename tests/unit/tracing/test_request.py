import pytest

from layerwise.errors import PromptError
from layerwise.tracing.prepared_request import make_ready
from layerwise.tracing.request import Request


@pytest.fixture(scope="module")
def asked(tiny):
    def run(prompt="The capital of Germany is", **options):
        return make_ready(tiny._loaded, [Request(prompt, **options)])[0]

    return run


def test_a_plain_request_reads_behind_the_last_token(asked):
    item = asked()
    assert item.text == "The capital of Germany is"
    assert item.positions == (item.last,) == (4,)
    assert item.generated == item.answers == item.tracked == ()


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ("last", (4,)),
        ("all", (0, 1, 2, 3, 4)),
        ("0", (0, 4)),
        ("-1", (4,)),
        ("-5,1", (0, 1, 4)),
        ("1:3", (1, 2, 4)),
        (":2", (0, 1, 4)),
        ("3:", (3, 4)),
        (":", (0, 1, 2, 3, 4)),
        ("-2:", (3, 4)),
        ("0:99", (0, 1, 2, 3, 4)),
        (" 2 , 0 ", (0, 2, 4)),
        ("2,2,2", (2, 4)),
    ],
)
def test_positions(asked, positions, expected):
    assert asked(positions=positions).positions == expected


@pytest.mark.parametrize("positions", ["", "first", "5", "-6", "3:1", "1,,2", "1:2:3", "1.5", "7:9", "all,0", "0;1"])
def test_positions_that_name_nothing_are_refused(asked, positions):
    with pytest.raises(PromptError, match=r"none of this prompt's 5 tokens.*last, all, or indices"):
        asked(positions=positions)


def test_an_empty_prompt_is_refused(asked):
    with pytest.raises(PromptError, match=r"prompt is empty"):
        asked("")


def test_white_space_is_a_prompt(asked):
    assert asked(" ").ids


def test_a_prompt_beyond_the_models_context_is_refused(asked):
    longest = "Paris" + " Paris" * 126
    assert len(asked(longest).ids) <= 128
    with pytest.raises(PromptError, match=r"this model was built for 128"):
        asked(longest + " Paris" * 2)


@pytest.mark.parametrize("more", [{"generate": 8}, {"answers": (" the city of Paris",)}])
def test_what_follows_the_prompt_counts_too(asked, more):
    prompt = "Paris" + " of" * (128 - len(asked("Paris").ids) - 2)
    assert len(asked(prompt).ids) == 126
    with pytest.raises(PromptError, match=r"tokens are needed \(prompt 126\)"):
        asked(prompt, **more)


@pytest.mark.parametrize(
    "options",
    [{"top_k": 0}, {"top_k": -1}, {"generate": -1}, {"temperatures": (0.0,)}, {"temperatures": (1.0, -2.0)}],
)
def test_counts_and_temperatures_out_of_range_are_refused(asked, options):
    with pytest.raises(PromptError, match=r"top_k must be at least 1"):
        asked(**options)


def test_a_system_message_needs_a_conversation(asked):
    with pytest.raises(PromptError, match=r"belongs to a conversation"):
        asked(system="Be brief")


def test_chat_needs_a_template(asked):
    with pytest.raises(PromptError, match=r"no chat template"):
        asked(chat=True)


def test_tracked_tokens_stand_in_the_middle_of_a_sentence(asked):
    tracked = asked(track=(" Germany", " Paris")).tracked
    assert [token.text for token in tracked] == [" Germany", " Paris"]


@pytest.mark.parametrize("piece", [" Berlin Paris", " zyx", ""])
def test_only_single_tokens_are_tracked(asked, piece):
    with pytest.raises(PromptError, match=r"not one token here but"):
        asked(track=(piece,))


def test_the_pieces_of_what_is_not_one_token_are_shown(asked):
    with pytest.raises(PromptError, match=r"but 2 \(␣Berlin ␣Paris\)"):
        asked(track=(" Berlin Paris",))


def test_sentencepiece_tokens_are_tracked_by_their_spaced_form(load_family):
    item = make_ready(load_family("mistral")._loaded, [Request("The capital of", track=(" Paris",))])[0]
    assert item.tracked[0].text == " Paris"


def test_generated_tokens_are_read_at_their_own_places(asked):
    item = asked(generate=3)
    assert len(item.generated) == 3
    assert item.positions == (4, 5, 6), "the last generated token predicts nothing that was asked for"


def test_an_alternative_without_an_answer_is_refused(asked):
    with pytest.raises(PromptError, match="Add an answer"):
        asked(alternatives=(" Paris",))
    assert len(asked(answers=(" Berlin",), alternatives=(" Paris",)).answers) == 1
