"""Conversations through chat templates: what is written, and what is refused because something of it would be lost."""

import pytest

from layerwise.errors import PromptError
from layerwise.models.tokenizing.chat import render, writes_the_date

PLAIN = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And 3 + 3?"},
]


@pytest.fixture
def written(toy_tokenizer):
    hf = toy_tokenizer(sentencepiece=False, bos=False)

    def call(template, talk, /, **arguments) -> str:
        hf.chat_template = template
        return render(hf, talk, arguments)

    return call


def test_a_conversation_is_written_in_order_and_ready_for_a_reply(written):
    said = "[system] Be brief.\n[user] What is 2 + 2?\n[assistant] 4\n[user] And 3 + 3?\n[assistant]"
    assert written(PLAIN, TALK) == said


def test_a_last_message_of_the_assistant_is_left_open(written):
    messages = [TALK[1], {"role": "assistant", "content": "The answer is"}]
    assert written(PLAIN, messages) == "[user] What is 2 + 2?\n[assistant] The answer is"
    ended = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<end>{% endfor %}"
    assert written(ended, messages) == "<user>What is 2 + 2?<end><assistant>The answer is"


def test_a_beginning_of_a_reply_that_is_written_twice_is_refused(written):
    """transformers leaves the mark that it finds the end by (CONTINUE_FINAL_MESSAGE_TAG) in the first of them."""
    twice = "{% for m in messages %}{{ m.content }}\n{% endfor %}As said: {{ messages[-1].content }}"
    assert written(twice, TALK[1:2]) == "What is 2 + 2?\nAs said: What is 2 + 2?"
    with pytest.raises(PromptError, match=r"writes the last message more than once.*without --chat"):
        written(twice, TALK[1:3])


def test_white_space_that_a_template_takes_off_is_no_loss(written):
    stripping = "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{% endfor %}[assistant]"
    assert written(stripping, [{"role": "user", "content": " Hi \n"}]) == "[user] Hi[assistant]"


@pytest.mark.parametrize(
    ("template", "messages", "said"),
    [
        (
            "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}[assistant]",
            TALK[1:2],
            "leaves out or changes the user's message 'What is 2 + 2?'",
        ),
        ("[user] {{ messages[-1].content }}", TALK[1:], "leaves out or changes the user's message 'What is 2 + 2?'"),
        (
            "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}",
            TALK,
            "leaves out or changes the system's message 'Be brief.'",
        ),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", TALK[1:2] + TALK[3:], "leaves out or changes"),
        ("{% for m in messages | reverse %}{{ m.content }}\n{% endfor %}", TALK[1:], "moves the "),
        (
            "[user] a question [assistant]",
            [{"role": "user", "content": "a"}],
            "leaves out or changes the user's message 'a'",
        ),
    ],
)
def test_a_template_that_loses_something_is_refused_with_what(written, template, messages, said):
    with pytest.raises(PromptError, match="would be asked something else") as raised:
        written(template, messages)
    assert said in str(raised.value)


def test_an_instruction_may_stand_wherever_the_template_puts_it(written):
    """Mistral's templates write it into the last message of the user."""
    template = (
        "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.s = m.content %}"
        "{% elif loop.last %}[INST] {{ ns.s }}\n\n{{ m.content }}[/INST]{% else %}{{ m.content }} {% endif %}"
        "{% endfor %}"
    )
    assert written(template, TALK) == "What is 2 + 2? 4 [INST] Be brief.\n\nAnd 3 + 3?[/INST]"


def test_a_template_that_expects_something_of_a_text_is_judged_by_that_text(written):
    fussy = "{% if messages[0].content[0] != 'W' %}{{ raise_exception('no W') }}{% endif %}{{ messages[0].content }}"
    assert written(fussy, TALK[1:2]) == "What is 2 + 2?"


SWITCH = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}(no thought){% endif %}"
)


def test_an_argument_reaches_the_template(written):
    assert written(SWITCH, TALK[1:2]) == "What is 2 + 2?"
    assert written(SWITCH, TALK[1:2], enable_thinking=False) == "What is 2 + 2?(no thought)"
    tools = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}{{ tools[0].name }}{% endif %}"
    assert written(tools, TALK[1:2], tools=[{"name": "clock"}]) == "What is 2 + 2?clock"


@pytest.mark.parametrize(
    "name",
    ["enable_thinkin", "messages", "add_generation_prompt", "tokenize", "chat_template", "strftime_now", "tools"],
)
def test_an_argument_that_the_template_never_looks_at_is_refused_with_those_it_has(written, name):
    with pytest.raises(PromptError, match=rf"no argument '{name}'.*Its arguments are: enable_thinking\."):
        written(SWITCH, TALK[1:2], **{name: "x"})


def test_templates_for_training_and_with_loop_controls_are_read(written):
    template = (
        "{% for m in messages %}{% if m.role == 'x' %}{% break %}{% endif %}"
        "{% generation %}{{ m.content }}{{ style }}{% endgeneration %}{% endfor %}"
    )
    assert written(template, TALK[1:2], style="!") == "What is 2 + 2?!"


@pytest.mark.parametrize(
    ("template", "arguments", "dated"),
    [
        ("{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}", {}, True),
        ("{{ messages[0].content }}", {}, False),
        ("{% if date %}{{ date }}{% else %}{{ strftime_now('%d') }}{% endif %}{{ messages[0].content }}", {}, True),
        (
            "{% if date %}{{ date }}{% else %}{{ strftime_now('%d') }}{% endif %}{{ messages[0].content }}",
            {"date": "1 May"},
            False,
        ),
    ],
)
def test_a_template_that_writes_the_date_is_known(toy_tokenizer, template, arguments, dated):
    hf = toy_tokenizer(sentencepiece=False, bos=False)
    hf.chat_template = template
    assert writes_the_date(hf, TALK[1:2], arguments) is dated
