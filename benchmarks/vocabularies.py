"""Small vocabularies and texts on which tokenizers differ, for `benchmarks.gguf_tokenizers` and the tests."""

import collections
import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gguf

from layerwise.models.tokenizing.tokens import byte_alphabet

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of tokens in GGUF."""

TEXTS = (
    "The capital of Germany is",
    "Two steps:\n\n1. Mix the flour.\n\n2.",
    "total:    42 x  3 \t7\t\t8",
    "It's, it'S, they'Re, we'LL, I'VE; don’t you’ll",
    "'s 't 'x ''d",
    "1 12 123 1234 12345 123456 1234567 1,234.56 abc1234",
    "٣٤٥٦ ½ⅧⅨ ²³ 𝟘𝟙𝟚𝟛",
    "camelCase HTTPServer iPhone XMLHttpRequest aB Ab AB",
    "ÉCOLE école Écôle e\u0301cole nai\u0308ve ñandú Straße ŒUVRE",
    "Привет, мир! Ω и ω ÀÉ",
    "中文字符，和标点。“引号”！…",
    "日本語のテキスト、カタカナ・ひらがな ｶﾀｶﾅ",
    "한국어 텍스트 ㄱㄴㄷ ㄅㄆㄇ",
    "ภาษาไทย ที่นี่ ລາວ ខ្មែរ မြန်မာ",
    "हिन्दी में क्षि। বাংলা বর্ণ",
    "العربية، نص۔ עברית שלום",
    "🙂👨‍👩‍👧🇩🇪❤️ ok☃",
    "a\u00a0b\u3000c\u2028d\u0085e\u200bf\ufeffg\u00adh",
    "a  \u00a0 b \u3000\u3000c\u3000。",
    " leading and trailing   ",
    "\n\nlines\r\n\r\n  indented\n\ttab\n \n \n",
    "if (x == 3) { return y->z[0] * 2; }  // done!!\n\n",
    "!!! ??? ... --- === ;;; //\n/\n",
    "$5 + €7 = £12 <b>bold</b> `code` ~^|~",
    "(parentheses) [brackets] {braces} \"quotes\" 'single'",
    "#hashtag @user user@example.org https://example.org/a_b?c=d&e=f",
    "snake_case_name kebab-case-name 3rd x2 v1.2.3",
    "<sentinel:12> IMGIMGABCZ <other:1>",
    "\x00\x01\x1c\x1f\x7f control",
    "whole words: wholly holy wholes",
    " " * 24 + "far" + "\n" * 5 + "down" + "\t" * 4 + "in",
    "'twas don't 'Sunday 漢字don't 'velvet it’s l'été d'Or",
    "one\ntwo \nthree\n four",
    "ʰª ǅ ſ K İı ᾈ",
    "々〇〆 豈 ﷽ ㍿",
    "\u0897\U0001e5d1\U00010d41\U0001fae9 2024",
    "\U00020000\U0002ebf0\u31ef \ue000 \U000f0000",
    "<s>spelled</s> out <unk> <x>tag</x>  <x> end  end",
    "▁low line ▁▁ <0x0A> <0x41>",
    "ünïcödé a\u0308\u0301 x\u0338 \u0301start",
    "....!?!? ,;:  - – — ‘’ ‹›",
    "",
)
"""Where expressions part: what joins digits, spaces, newlines, signs, marks, scripts and characters of 2024."""


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Return texts put together from pieces of `TEXTS`, many of which no author would write."""
    chance = random.Random(seed)
    pieces = [text[at : at + size] for text in TEXTS for size in (1, 2, 3, 5) for at in range(0, len(text), size)]
    return ["".join(chance.choice(pieces) for _ in range(chance.randint(1, 14))) for _ in range(count)]


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as it stands in a GGUF file."""

    kind: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str] | None = None
    scores: Sequence[float] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keys after ``tokenizer.ggml.``: true or false, numbers, or texts."""

    def write(self, path: Path, architecture: str = "llama", name: str = "tiny") -> Path:
        """Write it as a GGUF file without tensors, with what llama.cpp wants to see before it reads a vocabulary."""
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_name(name)
        for add in (writer.add_context_length, writer.add_embedding_length, writer.add_feed_forward_length):
            add(64)
        writer.add_block_count(1)
        writer.add_head_count(1)
        writer.add_layer_norm_rms_eps(1e-5)
        self.add_to(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return path

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Write the keys of the tokenizer."""
        writer.add_tokenizer_model(self.kind)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.merges is not None:
            writer.add_token_merges(self.merges)
        if self.scores is not None:
            writer.add_token_scores(self.scores)
        for key, value in self.more.items():
            add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}[type(value)]
            add(f"tokenizer.ggml.{key}", value)


def byte_level(**more: Any) -> Vocabulary:
    """Return a vocabulary of byte-level BPE that would make one token of each text, were it not split before."""
    letter_of = {byte: letter for letter, byte in byte_alphabet().items()}
    merges = _byte_merges()
    made = list(dict.fromkeys("".join(pair) for pair in merges))
    not_merged = [token for token in ("Ġwhole", "Ġwholly", "Ġholy", "Ġtrailing", "Ġbrackets") if token not in made]
    tokens = [*letter_of.values(), *made, *not_merged]
    special = {"<s>": CONTROL, "</s>": NORMAL, "<unk>": UNKNOWN, "<x>": USER_DEFINED, "<|channel|>": NORMAL}
    types = [NORMAL] * len(tokens) + list(special.values())
    keys: dict[str, Any] = {"bos_token_id": len(tokens), "eos_token_id": len(tokens) + 1}
    return Vocabulary("gpt2", [*tokens, *special], types, [" ".join(pair) for pair in merges], more=keys | more)


def sentencepiece(**more: Any) -> Vocabulary:
    """Return a vocabulary of SentencePiece's kind, with runs of spaces that share one score as Llama 2's do."""
    words = [list(text.replace(" ", "▁")) for text in TEXTS]
    single = sorted({letter for word in words for letter in word if letter < "\u0180" or letter == "▁"} - {"\n", "\t"})
    merged = list(dict.fromkeys("".join(pair) for pair in _merged(words, 300)))
    merged = [token for token in merged if set(token) <= set(single)]
    runs = ["▁" * count for count in range(2, 9)]
    merged = [token for token in merged if token not in runs]
    special = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL}
    named = {"<x>": USER_DEFINED, "  end": USER_DEFINED, "tag</": UNUSED}
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *merged, *runs, *single, *named]
    types = [*special.values(), *[BYTE] * 256, *[NORMAL] * (len(merged) + len(runs) + len(single)), *named.values()]
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(merged))] + [-1e9] * len(runs)
    scores += [-1e4 - rank for rank in range(len(single) + len(named))]
    return Vocabulary("llama", tokens, types, scores=scores, more=more)


@cache
def _byte_merges() -> list[tuple[str, str]]:
    letter_of = {byte: letter for letter, byte in byte_alphabet().items()}
    texts = [text for text in TEXTS if "<s>" not in text]  # special tokens come about otherwise
    return _merged([[letter_of[byte] for byte in text.encode()] for text in texts], 4000)


def _merged(words: Iterable[list[str]], count: int) -> list[tuple[str, str]]:
    """Return the pairs that occur most often, one after the other, each merged before the next is counted."""
    words, merges = [list(word) for word in words], []
    for _ in range(count):
        pairs = collections.Counter(pair for word in words for pair in itertools.pairwise(word))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = [_joined(word, best) for word in words]
    return merges


def _joined(word: list[str], pair: tuple[str, str]) -> list[str]:
    made: list[str] = []
    for letter in word:
        if made and (made[-1], letter) == pair:
            made[-1] += letter
        else:
            made.append(letter)
    return made
