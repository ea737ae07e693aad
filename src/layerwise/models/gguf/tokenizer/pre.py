r"""How a text is split into words before its bytes are merged, by the name in ``tokenizer.ggml.pre``.

Each rule is one or several expressions, applied one after the other to what the ones before have left: a
match is a word, and so is what lies between two matches. What they match is what llama.cpp's
`llm_tokenizer_bpe` and `unicode_regex_split` match (llama-cpp-python 0.3.36), which now and then is not
what the model's authors wrote: capitals, for instance, are all letters but ``a`` to ``z``.
"""

from dataclasses import dataclass, replace

from layerwise.models.gguf.tokenizer.characters import (
    ASIAN,
    CHINESE_AND_HANGUL,
    CHINESE_AND_KANA,
    HAN,
    LETTER,
    MARK,
    NOT_CAPITAL,
    NOT_SMALL,
    NUMBER,
    PUNCTUATION,
    SYMBOL,
    WITH_CASE,
    ranges,
)


@dataclass(frozen=True)
class PreTokenizer:
    """What a name in ``tokenizer.ggml.pre`` stands for."""

    splits: tuple[str, ...]
    """Expressions, applied one after the other; what they match and what is between are words."""
    adds_bos: bool = False
    """Where the file doesn't say."""
    has_default_bos: bool = True
    """Whether token 11 is BOS where the file doesn't say, as in Falcon, the first of these vocabularies."""
    whole_words_first: bool = False
    """Whether a word that is a token is that token, whatever merging its parts would give."""
    raw: bool = False
    """Whether words are merged from characters (SentencePiece's way) and not from bytes."""
    escapes_spaces: bool = False
    """Whether a space is written ``▁``."""
    always_bos: bool = False
    """Whether BOS is added even where the file says no."""


_SUFFIX = "'s|'t|'re|'ve|'m|'ll|'d"
_ANY_SUFFIX = "'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])"
_LINES = r"\s*[\r\n]+"
_SPACES = r"\s+(?!\S)|\s+"
_LEAD = rf"[^\r\n{LETTER}{NUMBER}]?"
_SIGNS = rf" ?[^\s{LETTER}{NUMBER}]+"
_THREE = f"{NUMBER}{{1,3}}"

_GPT2 = rf"{_SUFFIX}| ?{LETTER}+| ?{NUMBER}+|{_SIGNS}|\s+(?!\S)"


def _words(
    number: str, *, suffix: str = f"{_ANY_SUFFIX}|", signs: str = rf"{_SIGNS}[\r\n]*", lines: str = _LINES
) -> str:
    """Return the expression of Llama 3 and its many relatives."""
    return f"{suffix}{_LEAD}{LETTER}+|{number}|{signs}|{lines}|{_SPACES}"


def _cased(upper: str, lower: str, number: str, *, suffix: str = f"(?:{_ANY_SUFFIX})?") -> str:
    """Return the expression of GPT-4o and its relatives, which splits `camelCase` before a capital."""
    words = f"{_LEAD}{upper}*{lower}+{suffix}|{_LEAD}{upper}+{lower}*{suffix}"
    return rf"{words}|{number}|{_SIGNS}[\r\n/]*|{_LINES}|{_SPACES}"


def _deepseek(after_signs: str) -> str:
    sign = r"[!-/:-@\[-`{-~]"
    words = rf"{sign}[A-Za-z]+|[^\r\n{LETTER}{PUNCTUATION}{SYMBOL}]?[{LETTER}{MARK}]+"
    return rf"{words}| ?[{PUNCTUATION}{SYMBOL}]+{after_signs}|\s+(?!\S)|\s+"


_DEEPSEEK = _deepseek(rf"[\r\n]*|{_LINES}")
_LETTERS_AND_MARKS = f"[{LETTER}{MARK}]"
_GROUPS_FROM_THE_RIGHT = f"[^{NUMBER}]*{NUMBER}{{1,3}}(?=(?:{NUMBER}{{3}})*(?!{NUMBER}))"
"""Thousands: a number's first group has one to three digits, and takes along what stands before it."""
_STOPS = r" ?[^(\s|.,!?" + ranges("2026 3002 FF0C 3001 0964 06D4 060C") + ")]+"
_NEWLINES = r"[^\n]+|\n+"

_FALCON_SIGNS = rf"[{PUNCTUATION}$+<=>\^~|`]+"
_DEFAULT = PreTokenizer((_FALCON_SIGNS.replace("`", ""), _GPT2, f"{NUMBER}+", "[0-9]{3}"))
_GPT2_RULE = PreTokenizer((_GPT2,))
_SINGLE_DIGITS = PreTokenizer((NUMBER, _GPT2))
_LLAMA3 = PreTokenizer((_words(_THREE),), adds_bos=True, whole_words_first=True)
_THREE_DIGITS = replace(_LLAMA3, adds_bos=False, whole_words_first=False)
_QWEN2 = PreTokenizer((_words(NUMBER),))
_DEEPSEEK3 = PreTokenizer((_THREE, f"{CHINESE_AND_KANA}+", _DEEPSEEK))
_GPT4O = PreTokenizer((_cased(NOT_SMALL, NOT_CAPITAL, _THREE),))
_CHATGLM = replace(_THREE_DIGITS, has_default_bos=False)
_BLOOM = PreTokenizer((_STOPS,))
_BAILING = PreTokenizer((_words(NUMBER, lines=r"\s*[\r\n]"),))
_GEMMA4 = PreTokenizer((_NEWLINES,), raw=True, escapes_spaces=True, always_bos=True)
_SPACES_HALVED = "".join(rf"|\s{{{count}}}(?!\S)" for count in (512, 256, 128, 64, 32, 16, 8, 4, "1,2"))

_RULES: dict[str, PreTokenizer] = {
    "default": _DEFAULT,
    "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code "
    "roberta-bpe mpt olmo jais trillion granite-docling exaone4": _GPT2_RULE,
    "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2": _SINGLE_DIGITS,
    "falcon": PreTokenizer((_FALCON_SIGNS, _GPT2, "[0-9]{3}")),
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano": _LLAMA3,
    "dbrx smaug-bpe": _THREE_DIGITS,
    "chatglm-bpe": _CHATGLM,
    "glm4 glm5": replace(_CHATGLM, whole_words_first=True),
    "jais-2": PreTokenizer((_words(_THREE).removesuffix(rf"|{_SPACES}") + _SPACES_HALVED + r"|\s",)),
    "minicpm5": PreTokenizer((_THREE, _words(f"{NUMBER}+")), whole_words_first=True),
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2": _QWEN2,
    "qwen35": PreTokenizer(
        (
            rf"{_ANY_SUFFIX}|{_LEAD}{_LETTERS_AND_MARKS}+|{NUMBER}| ?[^\s{LETTER}{MARK}{NUMBER}]+[\r\n]*|{_LINES}|"
            f"{_SPACES}",
        )
    ),
    "ufakzeka": PreTokenizer((_words(NUMBER, suffix=""),)),
    "laguna": PreTokenizer((_NEWLINES, _words(NUMBER))),
    "seed-coder": PreTokenizer((_words(NUMBER, signs=rf" ?[^\s{LETTER}{NUMBER}\r\n]+"),)),
    "bailingmoe bailingmoe2 llada-moe": _BAILING,
    "exaone-moe": PreTokenizer(
        (
            rf"{_ANY_SUFFIX}|{_LEAD}(?:{LETTER}{MARK}*(?: {LETTER}{MARK}*)*)+|{NUMBER}|{_SIGNS}[\r\n/]?|\s*[\r\n]|"
            f"{_SPACES}",
        )
    ),
    "deepseek-llm": PreTokenizer(
        (
            r"[\r\n]",
            rf"\s?{WITH_CASE}+",
            rf"\s?[!-/:-~{ranges('FF01-FF0F FF1A-FF5E 2018-201F 3001-3002')}]+",
            r"\s+\z",
            f"{CHINESE_AND_HANGUL}+",
            f"{NUMBER}+",
        )
    ),
    "deepseek-coder": PreTokenizer(
        (r"[\r\n]", rf"\s?{LETTER}+", rf"\s?{PUNCTUATION}+", f"{CHINESE_AND_HANGUL}+", NUMBER)
    ),
    "deepseek-v3 hunyuan-dense joyai-llm hy_v4": _DEEPSEEK3,
    "spark2_5": PreTokenizer((_THREE, f"{CHINESE_AND_KANA}+", _deepseek(r"|[\r\n]"), NUMBER)),
    "afmoe": PreTokenizer((_GROUPS_FROM_THE_RIGHT, f"{ASIAN}+", _DEEPSEEK)),
    "youtu": PreTokenizer(
        (
            f"[{ranges('AC00-D7A3 3131-318E')}]+"
            f"|[{ranges('FF01 2026 201C-201D 2018-2019 2014 FF1A FF1B FF0C 3001-303F FE30-FE4F')}]+"
            f"|[{ranges('3105-312F')}]+|{CHINESE_AND_KANA}+",
            _cased(_LETTERS_AND_MARKS, _LETTERS_AND_MARKS, NUMBER),
        ),
        whole_words_first=True,
    ),
    "poro-chat bloom gpt3-finnish": _BLOOM,
    "viking": PreTokenizer((_STOPS, NUMBER)),
    "tekken": PreTokenizer((_cased(NOT_SMALL, NOT_CAPITAL, NUMBER, suffix=""),), adds_bos=True, whole_words_first=True),
    "gpt-4o llama4 kanana2 talkie minimax-m2": _GPT4O,
    "granite-embed-multi-97m": PreTokenizer(
        (_cased(f"[{_LETTERS_AND_MARKS}&&[^a-z]]", f"[{_LETTERS_AND_MARKS}&&[^A-Z]]", _THREE),),
        whole_words_first=True,
    ),
    "tiny_aya cohere2moe": PreTokenizer(
        (_GROUPS_FROM_THE_RIGHT, _cased(_LETTERS_AND_MARKS, _LETTERS_AND_MARKS, _THREE))
    ),
    "kimi-k2": PreTokenizer(
        (rf"{HAN}+|{_LEAD}[{LETTER}&&[^{HAN}]]+(?:{_ANY_SUFFIX})?|{_THREE}|{_SIGNS}[\r\n]*|{_LINES}|{_SPACES}",)
    ),
    "superbpe": PreTokenizer((f"{NUMBER}+", "(?=(?:[0-9]{3})+(?![0-9]))")),
    "chameleon": PreTokenizer(
        (
            "<sentinel:[0-9]+>",
            "IMGIMG[A-I]{1,4}Z",
            r"[\t\n]|    |  ",
            NUMBER,
            rf"[{PUNCTUATION}!-/:-@\[-`{{-~]",
            _GPT2,
        ),
        adds_bos=True,
    ),
    "gemma4 granite-embed-multi-311m": _GEMMA4,
    "sarvam-moe": PreTokenizer((_NEWLINES,), raw=True, escapes_spaces=True),
}

PRE_TOKENIZERS = {name: rule for names, rule in _RULES.items() for name in names.split()}
"""By the name in ``tokenizer.ggml.pre``."""
