"""The keys of GGUF metadata that concern the tokenizer: read, known to change no token, or unknown."""

from collections.abc import Iterable

_READ = (
    "model pre tokens token_type scores merges add_bos_token add_eos_token add_space_prefix bos_token_id eos_token_id "
    "unknown_token_id padding_token_id mask_token_id fim_pre_token_id fim_suf_token_id fim_mid_token_id "
    "fim_pad_token_id fim_rep_token_id fim_sep_token_id prefix_token_id suffix_token_id middle_token_id"
)
"""After ``tokenizer.ggml.``."""

HARMLESS = {
    "tokenizer.ggml.eot_token_id": "where a turn ends: llama.cpp stops generating there",
    "tokenizer.ggml.eom_token_id": "where a message ends: llama.cpp stops generating there",
    "tokenizer.ggml.eos_token_ids": "more tokens at which generating stops; llama.cpp does not read it",
    "tokenizer.ggml.seperator_token_id": "stands between two texts that are compared, in models that rank",
    "tokenizer.ggml.add_sep_token": "puts the separator between two texts, in models that rank",
    "tokenizer.ggml.cls_token_id": "the first token for classifiers; of those read here, none adds it",
    "tokenizer.ggml.token_type_count": "how many kinds of segments BERT has",
    "tokenizer.ggml.remove_extra_whitespaces": "llama.cpp follows it for T5's kind only, which is refused",
    "tokenizer.ggml.precompiled_charsmap": "llama.cpp follows it for T5's kind only, which is refused",
    "tokenizer.ggml.normalizer.lowercase": "llama.cpp follows it for BERT's kind only, which is refused",
    "tokenizer.ggml.normalizer.strip_accents": "llama.cpp follows it for BERT's kind only, which is refused",
    "tokenizer.ggml.suppress_tokens": "what sampling never picks; the model's own distribution has them",
    "tokenizer.ggml.add_padding_token": "a single text is never padded",
    "tokenizer.ggml.add_unknown_token": "no text is given an unknown token in front",
    "tokenizer.huggingface.json": "a copy of the tokenizer.json that the other keys were made from",
    "tokenizer.rwkv.world": "a copy of RWKV's vocabulary, whose kind is refused",
    "tokenizer.chat_template": "read where a prompt is put into the chat template",
    "tokenizer.chat_templates": "the names of further chat templates; --chat takes the default one",
}
"""Keys that change no token of a text, and why."""

_FURTHER_TEMPLATES = "tokenizer.chat_template."


def unknown_tokenizer_keys(metadata: Iterable[str]) -> list[str]:
    """Return the keys that begin with ``tokenizer.`` and that nobody here knows: they could change the tokens."""
    read = {f"tokenizer.ggml.{name}" for name in _READ.split()}
    return sorted(
        key
        for key in metadata
        if key.startswith("tokenizer.")
        and key not in read
        and key not in HARMLESS
        and not key.startswith(_FURTHER_TEMPLATES)
    )
