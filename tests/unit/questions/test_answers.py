import pytest
from tokenizers import processors

from layerwise.errors import PromptError
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.questions.answers import Answer, resolve_answer


@pytest.fixture(scope="module", params=["byte_level", "sentencepiece"])
def tokenizer(request, toy_tokenizer):
    spm = request.param == "sentencepiece"
    return Tokenizer(toy_tokenizer(sentencepiece=spm, bos=spm))


@pytest.fixture
def resolve(tokenizer):
    def run(prompt, text, *alternatives) -> Answer:
        return resolve_answer(tokenizer, prompt, tokenizer.encode(prompt), text, alternatives)

    return run


def texts(answer: Answer) -> list[str]:
    return [token.text for token in answer.tokens]


def test_an_answer_is_its_tokens_behind_the_prompt(resolve):
    answer = resolve("The capital of Germany is", " Berlin")
    assert texts(answer) == [" Berlin"]
    assert answer.ids == (answer.tokens[0].id,)
    assert answer.deciding_token.text == " Berlin"


def test_a_token_that_merges_with_the_prompts_end_is_refused_by_name(resolve):
    with pytest.raises(PromptError, match=r"'ital' merges.*␣c.*␣capital in prompt and answer together"):
        resolve("The cap", "ital")


def test_a_space_at_the_prompts_end_is_moved_into_the_answer(resolve):
    with pytest.raises(PromptError, match=r"Move the space into the answer: .*'Answer:', answer ' Berlin'"):
        resolve("Answer: ", "Berlin")


def test_an_answer_without_its_space_is_scored_as_it_is_written(resolve):
    """Ids are matched, never text: "Berlin" without a space is other tokens than " Berlin"."""
    apart, joined = resolve("The capital is", " Berlin"), resolve("The capital (", "Berlin")
    assert apart.ids != joined.ids


@pytest.mark.parametrize("empty", [""])
def test_an_answer_without_tokens_is_refused(resolve, empty):
    with pytest.raises(PromptError, match=r"tokenises to nothing"):
        resolve("The capital of Germany is", empty)


def test_the_deciding_token_is_the_first_that_no_alternative_shares(resolve):
    answer = resolve("Berlin is in", " the city of Berlin", " the city of Paris", " the city of Rome")
    assert texts(answer) == [" the", " city", " of", " Berlin"]
    assert answer.deciding_index == 3
    assert resolve("Berlin is in", " the city of Berlin", " France").deciding_index == 0
    assert resolve("Berlin is in", " the city of Berlin", " the capital", " France").deciding_index == 1


def test_an_alternative_that_the_answer_continues_is_told_apart_behind_it(resolve):
    answer = resolve("He lives in", " the city of Paris", " the city")
    assert texts(answer)[: answer.deciding_index + 1] == [" the", " city", " of"]


@pytest.mark.parametrize("alternative", [" the city", " the city of Paris"])
def test_an_alternative_that_begins_with_the_whole_answer_is_refused(resolve, alternative):
    with pytest.raises(PromptError, match=f"' the city' from the alternative '{alternative}'.*2 tokens"):
        resolve("He lives in", " the city", " Paris", alternative)


def test_without_alternatives_white_space_alone_does_not_decide(resolve):
    answer = resolve("The capital is", " \n Berlin")
    assert len(answer.tokens) > 1
    assert answer.deciding_token.text.strip()
    assert not "".join(texts(answer)[: answer.deciding_index]).strip()


def test_an_answer_of_white_space_is_decided_by_its_first_token(resolve):
    assert resolve("The capital is", "\n").deciding_index == 0


def test_an_alternative_that_merges_with_the_prompt_is_refused_too(resolve):
    with pytest.raises(PromptError, match=r"'ital'"):
        resolve("The cap", " of Germany", "ital")


def test_an_answer_stands_right_behind_the_prompt_where_the_tokenizer_appends_an_end(toy_tokenizer):
    hf = toy_tokenizer(sentencepiece=False, bos=False)
    hf.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", hf.eos_token_id)]
    )
    tokenizer = Tokenizer(hf)
    prompt = "The capital of Germany is"
    answer = resolve_answer(tokenizer, prompt, tokenizer.encode(prompt), " Berlin")
    assert texts(answer) == [" Berlin"]
