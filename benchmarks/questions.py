"""A thousand short questions with one-token answers, and texts of any length made of them."""

from dataclasses import dataclass
from typing import Any

_COUNTRIES = {
    "Africa": """Algeria, Angola, Benin, Botswana, Burkina Faso, Burundi, Cameroon, Cape Verde, Chad, Djibouti, Egypt,
        Equatorial Guinea, Eritrea, Eswatini, Ethiopia, Gabon, Gambia, Ghana, Guinea, Guinea-Bissau, Ivory Coast, Kenya,
        Lesotho, Liberia, Libya, Madagascar, Malawi, Mali, Mauritania, Morocco, Mozambique, Namibia, Niger, Nigeria,
        Rwanda, Senegal, Sierra Leone, Somalia, South Africa, South Sudan, Sudan, Tanzania, Togo, Tunisia, Uganda,
        Zambia, Zimbabwe""",
    "Asia": """Afghanistan, Bahrain, Bangladesh, Bhutan, Brunei, Cambodia, China, India, Indonesia, Iran, Iraq, Israel,
        Japan, Jordan, Kuwait, Kyrgyzstan, Laos, Lebanon, Malaysia, Mongolia, Myanmar, Nepal, North Korea, Oman,
        Pakistan, Qatar, Saudi Arabia, Singapore, South Korea, Sri Lanka, Syria, Tajikistan, Thailand, Turkmenistan,
        the Philippines, the United Arab Emirates, Uzbekistan, Vietnam, Yemen""",
    "Europe": """Albania, Andorra, Austria, Belarus, Belgium, Bosnia and Herzegovina, Bulgaria, Croatia, Denmark,
        Estonia, Finland, France, Germany, Greece, Hungary, Iceland, Ireland, Italy, Kosovo, Latvia, Liechtenstein,
        Lithuania, Luxembourg, Malta, Moldova, Monaco, Montenegro, North Macedonia, Norway, Poland, Portugal, Romania,
        San Marino, Serbia, Slovakia, Slovenia, Spain, Sweden, Switzerland, the Czech Republic, the Netherlands,
        the United Kingdom, Ukraine""",
}
_CONTINENTS = sorted(
    (country.strip(), continent) for continent, names in _COUNTRIES.items() for country in names.split(",")
)
_WORDINGS = (
    "Question: On which continent is {}? Answer:",
    "{} is a country in",
    "The continent on which {} lies is called",
    "Question: Is {} in Africa, in Asia or in Europe? Answer: It is in",
    "If you travel to {}, you travel to",
    "Somebody who was born in {} and never left it has lived all their life in",
    "Geography: {} lies in",
    "Asked where {} is, the teacher went to the large map on the wall and pointed at",
)


@dataclass(frozen=True)
class Question:
    """A prompt, and one token that answers it."""

    prompt: str
    answer: str


ONE = Question("Question: What is the capital of Germany? Answer:", " Berlin")


def questions(number: int) -> list[Question]:
    """Return up to 1,032 distinct questions, always the same, their wordings and lengths mixed."""
    return [_question(i) for i in range(number)]


def text_of(tokens: int, tokenizer: Any) -> Question:
    """Return a text of so many tokens, special ones included, as the tokenizer counts them."""
    sentences = [question.prompt + question.answer + "." for question in questions(tokens // 4)]
    ids = tokenizer(" ".join(sentences))["input_ids"][:tokens]
    return Question(tokenizer.decode(ids, skip_special_tokens=True), " Africa")


def _question(i: int) -> Question:
    # 129 countries and 8 wordings have no common factor, so stepping through both meets each pair once.
    country, continent = _CONTINENTS[i % len(_CONTINENTS)]
    prompt = _WORDINGS[i % len(_WORDINGS)].format(country)
    return Question(prompt[0].upper() + prompt[1:], f" {continent}")
