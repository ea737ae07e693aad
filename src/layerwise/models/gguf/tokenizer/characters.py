r"""Sets of characters as llama.cpp knows them, written for Oniguruma, the expressions of `tokenizers`.

llama.cpp 0.3.36 of llama-cpp-python has tables of Unicode 15.1; Oniguruma 6.9.10 has Unicode 16.0, and
counts 4,300 letters of 2024 as letters where llama.cpp sees no character yet. They are taken off here,
so that a text is split in the same places. White space is the same in both: ``\s``.
"""

from collections.abc import Iterable

_OF_UNICODE_16 = {
    "L": "1C89-1C8A A7CB-A7CD A7DA-A7DC 105C0-105F3 10D4A-10D65 10D6F-10D85 10EC2-10EC4 11380-113D3 11BC0-11BE0 "
    "13460-143FA 16100-1611D 16D40-16D6C 18CFF 1E5D0-1E5F0",
    "N": "10D40-10D49 116D0-116E3 11BF0-11BF9 16130-16139 16D70-16D79 1CCF0-1CCF9 1E5F1-1E5FA",
    "P": "1B4E-1B4F 1B7F 10D6E 113D4-113D8 11BE1 16D6D-16D6F 1E5FF",
    "S": "2427-2429 31E4-31E5 10D8E-10D8F 1CC00-1CCEF 1CD00-1CEB3 1F8B2-1F8BB 1F8C0-1F8C1 1FA89 1FA8F 1FABE 1FAC6 "
    "1FADC 1FADF 1FAE9 1FBCB-1FBEF",
    "M": "0897 10D69-10D6D 10EFC 113B8-113E2 11F5A 1611E-1612F 1E5EE-1E5EF",
}
"""By category: code points that Unicode 16.0 gave to it, and those between them that have none."""


def ranges(numbers: str) -> str:
    """Return ranges of code points, such as ``0E40-0E7F 1780``, as they stand inside an expression's brackets."""
    return "".join("-".join(rf"\x{{{number}}}" for number in one.split("-")) for one in numbers.split())


def each(characters: Iterable[str]) -> str:
    """Return characters as they stand inside an expression's brackets, whatever they mean there by themselves."""
    return ranges(" ".join(f"{ord(character):X}" for character in sorted(characters)))


def _category(name: str) -> str:
    return rf"[\p{{{name}}}&&[^{ranges(_OF_UNICODE_16[name])}]]"


LETTER, NUMBER, PUNCTUATION, SYMBOL, MARK = map(_category, "LNPSM")
NOT_SMALL = f"[{LETTER}&&[^a-z]]"
"""What llama.cpp takes for capitals where a pattern asks for them: every letter but those."""
NOT_CAPITAL = f"[{LETTER}&&[^A-Z]]"

HAN = f"[{ranges('4E00-9FFF 3400-4DBF 20000-2A6DF 2A700-2EBEF F900-FAFF 2F800-2FA1F')}]"
CHINESE_AND_KANA = f"[{ranges('4E00-9FA5 3040-30FF')}]"
CHINESE_AND_HANGUL = rf"[{ranges('0800-9FA5 AC00-D7FF')}&&\S]"
"""As DeepSeek's first tokenizers have it: with all that lies below the Chinese characters but white space."""
ASIAN = f"[{ranges('3400-4DBF 4E00-FAFF 3040-30FF FF65-FF9F 2F00-2FDF 0E40-0EFF 1780-17FF 1000-109F AA60-AA7F')}" + (
    f"{ranges('A9E0-A9FF 1100-11FF')}]"
)
"""AFMoE's scripts without spaces. llama.cpp's range of compatibility characters begins at 8C48 for F900."""

WITH_CASE = r"[[\p{Lu}\p{Ll}\p{Lt}]&&[^" + (
    ranges(
        "0560-0588 10C6-10FF 1C80-1C8F 2D00-2D2F A790-A7FF AB30-AB6F 10570-105BC 10D50-10D85 16E40-16E7F "
        "1D400-1D7FF 1DF00-1DFFF"
    )
    + "]]"
)
"""DeepSeek LLM's letters: those of alphabets with capitals, by an old Unicode, without mathematical ones."""
