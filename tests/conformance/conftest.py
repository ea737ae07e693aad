"""Tiny random checkpoints of real families, on disk, loaded whole and streamed; and transformers as the oracle."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import layerwise as lw
from benchmarks.tiny import always_streamed, save, tiny_config, tiny_model


@dataclass(frozen=True)
class Case:
    """A family, and what of it is switched on."""

    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    norm: str = "model.norm"
    """The final norm, found by hand."""
    embedding: str | None = None
    """Where transformers' hidden states begin after the first block: what comes before it."""
    bos: bool = False
    sentencepiece: bool = False


_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

# Chunks of 8 where blocks compute in chunks: prompts reach into the second, and little is filled up to a chunk of 256.
CASES = {
    "qwen2": Case("Qwen2Config"),
    "qwen3": Case("Qwen3Config"),
    "qwen3-moe": Case("Qwen3MoeConfig"),
    "qwen3-next": Case("Qwen3NextConfig"),
    "llama2": Case("LlamaConfig", bos=True, sentencepiece=True),
    "llama3": Case("LlamaConfig", {"rope_parameters": _LLAMA3_ROPE}, bos=True),
    "llama4": Case("Llama4TextConfig"),
    "mistral": Case("MistralConfig", bos=True, sentencepiece=True),
    "mixtral": Case("MixtralConfig", bos=True, sentencepiece=True),
    "gemma": Case("GemmaConfig", bos=True, sentencepiece=True),
    "gemma2": Case(
        "Gemma2Config",
        {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 30.0},
        bos=True,
        sentencepiece=True,
    ),
    "gemma3": Case("Gemma3TextConfig", {"final_logit_softcapping": 30.0}, bos=True, sentencepiece=True),
    "gemma4": Case("Gemma4TextConfig", {"final_logit_softcapping": 30.0}, bos=True, sentencepiece=True),
    "recurrent-gemma": Case("RecurrentGemmaConfig", {"logits_soft_cap": 10.0}, "model.final_norm"),
    "phi": Case("PhiConfig", norm="model.final_layernorm"),
    "phi3": Case("Phi3Config", bos=True, sentencepiece=True),
    "olmo": Case("OlmoConfig"),
    "olmo2": Case("Olmo2Config"),
    "gpt2": Case("GPT2Config", norm="transformer.ln_f"),
    "gpt-neo": Case("GPTNeoConfig", norm="transformer.ln_f"),
    "gpt-neox": Case("GPTNeoXConfig", norm="gpt_neox.final_layer_norm"),
    "gpt-j": Case("GPTJConfig", norm="transformer.ln_f"),
    "gpt-oss": Case("GptOssConfig"),
    "falcon": Case("FalconConfig", {"parallel_attn": True}, "transformer.ln_f"),
    "stablelm": Case("StableLmConfig"),
    "cohere": Case("CohereConfig", {"logit_scale": 0.25}, bos=True),
    "granite": Case("GraniteConfig", {"logits_scaling": 4.0}),
    "smollm3": Case("SmolLM3Config"),
    "starcoder2": Case("Starcoder2Config"),
    "nanochat": Case("NanoChatConfig", {"final_logit_softcapping": 30.0}),
    "deepseek-v2": Case("DeepseekV2Config"),
    "deepseek-v3": Case("DeepseekV3Config"),
    "opt": Case("OPTConfig", norm="model.decoder.final_layer_norm", bos=True),
    "xglm": Case("XGLMConfig", norm="model.layer_norm"),
    "bloom": Case("BloomConfig", norm="transformer.ln_f"),
    "mpt": Case("MptConfig", norm="transformer.norm_f"),
    "lfm2": Case("Lfm2Config", norm="model.embedding_norm"),
    "mamba": Case("MambaConfig", norm="backbone.norm_f", embedding="backbone.embeddings"),
    "mamba2": Case("Mamba2Config", {"chunk_size": 8}, norm="backbone.norm_f", embedding="backbone.embeddings"),
    "jamba": Case("JambaConfig", norm="model.final_layernorm"),
    "bamba": Case("BambaConfig", {"mamba_chunk_size": 8}, norm="model.final_layernorm"),
    "falcon-h1": Case("FalconH1Config", {"mamba_chunk_size": 8}, norm="model.final_layernorm"),
    "zamba2": Case("Zamba2Config", {"chunk_size": 8}, norm="model.final_layernorm"),
}

PROMPT = "The capital of Germany is Berlin"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, toy_tokenizer):
    """Makes a case's checkpoint, once: config, shards with their index, tokenizer."""

    @functools.cache
    def build(name: str, tied: bool | None = None) -> Path:
        case = CASES[name]
        changes = case.settings if tied is None else case.settings | {"tie_word_embeddings": tied}
        hf_model = tiny_model(tiny_config(getattr(transformers, case.config), **changes))
        hf_tokenizer = toy_tokenizer(sentencepiece=case.sentencepiece, bos=case.bos)
        return save(hf_model, hf_tokenizer, tmp_path_factory.mktemp(name))

    return build


@pytest.fixture(scope="session")
def whole(checkpoint):
    """Loads a case's model into memory, once."""
    return functools.cache(lambda *case: lw.load(checkpoint(*case), device="cpu"))


@pytest.fixture(scope="session")
def streamed(checkpoint):
    """Loads a case's model streamed, however small it is."""

    def load(*case) -> lw.Model:
        with always_streamed():
            return lw.load(checkpoint(*case), device="cpu")

    return load


class Own:
    """What transformers makes of a prompt by itself. Nothing of layerwise."""

    def __init__(self, hf_model: Any, case: Case, ids: list[int]):
        self._hf, self._norm = hf_model, hf_model.get_submodule(case.norm)
        self._embedding = hf_model.get_submodule(case.embedding) if case.embedding else None
        self._ids = torch.tensor([ids])

    @torch.no_grad()
    def states(self) -> torch.Tensor:
        """Return [layer, position, d_model]: the input of each block, then what the final norm is given."""
        entered: list[torch.Tensor] = []
        hook = self._norm.register_forward_pre_hook(lambda _module, args: entered.append(args[0]))
        output = self._hf(input_ids=self._ids, use_cache=False, output_hidden_states=True)
        hook.remove()
        self._calls = len(entered)
        # The last of theirs is normed already.
        between = output.hidden_states[:-1] if self._embedding is None else output.hidden_states[:-2]
        first = [] if self._embedding is None else [self._embedding(self._ids)]
        return torch.stack([*first, *between, entered[-1]])[:, 0]

    @torch.no_grad()
    def readout(self, states: torch.Tensor) -> torch.Tensor:
        """Return the logits [layer, position, token] of the model's own forward, with `states` put before its norm."""
        calls = 0

        def replaced(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            nonlocal calls
            calls += 1
            return (states, *args[1:]) if calls == self._calls else args

        hook = self._norm.register_forward_pre_hook(replaced)
        logits = self._hf(input_ids=self._ids, use_cache=False).logits
        hook.remove()
        return logits


@pytest.fixture(scope="session", params=CASES)
def name(request):
    """Each family in turn."""
    return request.param


@pytest.fixture(scope="session")
def own(whole):
    """`own(name)`: transformers' states and readout for the prompt."""

    def run(name: str) -> Own:
        model = whole(name)
        ids = [token.id for token in model.trace(PROMPT).tokens]
        return Own(model._loaded.hf, CASES[name], ids)

    return functools.cache(run)


@pytest.fixture(scope="session")
def traced(whole):
    """`traced(name)`: a trace of the prompt at all positions."""
    return functools.cache(lambda name: whole(name).trace(PROMPT, answer=" Paris", positions="all"))


@pytest.fixture(scope="session")
def expects_bos():
    """`expects_bos(name)`: whether a case's tokenizer puts a BOS before every text."""
    return lambda name: CASES[name].bos
