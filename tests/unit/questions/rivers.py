"""A set of questions on rivers, as its two files say it."""

from layerwise.questions.question import Question
from layerwise.questions.sets import QuestionSet

TOML = """\
name = "rivers"
version = 2
title = "Rivers"
source = "An atlas."
items = "rivers.csv"

[directions.river-to-sea]
answer = "sea"
[directions.river-to-sea.wordings]
statement = "The {river} flows into the"
question = "Question: Into which sea does the {river} flow? Answer: the"

[directions.river-to-source]
answer = "source"
[directions.river-to-source.wordings]
statement = "The {river} rises in"
"""
RIVERS = """\
item,river,sea,source,group
elbe,Elbe|Labe,North Sea,Czechia|the Czech Republic,europe
rhine,Rhine,North Sea|German Ocean,Switzerland,europe
oder,Oder,Baltic Sea|Baltic,the Czech Republic|Czechia,europe
rhone,Rhône,Mediterranean,Switzerland,europe
po,Po,Adriatic,Italy,europe
amur,Amur,Sea of Okhotsk,Russia,asia
yangtze,Yangtze,East China Sea,China,asia
"""


def by_id(found: QuestionSet) -> dict[str, Question]:
    return {question.id: question for question in found.questions}
