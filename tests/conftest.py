"""What tests share: small random checkpoints of real families, the bundled models, and an oracle.

The shapes written in annotations are checked here, while tests run, and nowhere else. So the hook
comes before anything of layerwise is imported.
"""

import jaxtyping

jaxtyping.install_import_hook(
    [
        "layerwise.capture",
        "layerwise.readout.kernel",  # not the compiled modules: numba takes functions as they are written
        "layerwise.readout.lenses",
        "layerwise.readout.row_statistics",
        "layerwise.tracing",
        "layerwise.models.output_head.output_head",
        "layerwise.models.output_head.product",
    ],
    "beartype.beartype",
)

import copy  # noqa: E402
import functools  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from hypothesis import settings  # noqa: E402
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402  # noqa: E402, I001

import layerwise as lw  # noqa: E402
from layerwise import compiled  # noqa: E402
from layerwise.models.machine.device import available_devices  # noqa: E402

# The toy models' products are too small to share out: on busy machines, threads that wait for one
# another make each of them take 15 ms instead of 20 µs.
torch.set_num_threads(1)

# No deadline: the first example of a test that runs a model pays for what PyTorch sets up.
settings.register_profile("layerwise", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("layerwise")

QUESTION = "Question: What is the capital of Germany? Answer:"

_SENTENCES = [
    "Question: What is the capital of Germany? Answer: Berlin",
    "Question: What is the capital of France? Answer: Paris",
    "The capital of Germany is Berlin. The capital of France is Paris. The capital of Italy is Rome.",
    "Berlin is the capital of Germany, Paris is the capital of France and Rome of Italy.",
    "The Eiffel Tower is in the city of Paris. New York is a city in the state of New York.",
    "Two and two make four: 2 + 2 = 4, 3 + 4 = 7, 5 + 5 = 10.",
    "Once upon a time a king lived in a castle by the river, and his daughter was wise.",
    "A language model predicts the next token from all the tokens that came before it.",
]

_SHAPE: dict[str, Any] = {
    "vocab_size": 530,  # more than the tokenizer has, and no multiple of 64
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}


@dataclass(frozen=True)
class Family:
    """One of the mission's four families at toy size, with what sets it apart switched on."""

    config: str
    settings: dict[str, Any]
    sentencepiece: bool
    bos: bool


FAMILIES = {
    "qwen3": Family("Qwen3Config", {"tie_word_embeddings": False}, sentencepiece=False, bos=False),
    "llama3": Family(
        "LlamaConfig",
        {
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
        sentencepiece=False,
        bos=True,
    ),
    # Every prompt of more than four tokens reaches past the window.
    "mistral": Family("MistralConfig", {"sliding_window": 4}, sentencepiece=True, bos=True),
    "gemma2": Family(
        "Gemma2Config",
        {
            "sliding_window": 4,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 10.0,
            "query_pre_attn_scalar": 16,
        },
        sentencepiece=True,
        bos=True,
    ),
}


def make_tokenizer(*, sentencepiece: bool, bos: bool) -> Any:
    """Return a small trained tokenizer: byte-level BPE, or Llama's way (metaspace, byte fallback)."""
    special = (["<bos>"] if bos else []) + ["<eos>", "<pad>"]
    if sentencepiece:
        inner = Tokenizer(models.BPE(byte_fallback=True, unk_token=None, fuse_unk=True))
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
        inner.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        alphabet, special = [], [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    else:
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(_SENTENCES * 3, trainer)
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", inner.token_to_id("<bos>"))]
        )
    names = {"bos_token": "<bos>"} if bos else {}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", **names)


def make_family(name: str, **changes: Any) -> tuple[Any, Any]:
    """Return a fresh random model of a family, and its tokenizer; `changes` go into the config.

    Weights are drawn so wide that logits spread over tens and gains are far from 1: a lens that
    leaves something out must show.
    """
    family = FAMILIES[name]
    config = getattr(transformers, family.config)(**_SHAPE | family.settings | changes)
    hf_model = transformers.AutoModelForCausalLM.from_config(config).eval()
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for key, parameter in hf_model.named_parameters():
            if parameter.dim() == 1:  # gains; Gemma adds 1 to what is stored
                low, high = (-0.8, 1.0) if name == "gemma2" else (0.2, 2.0)
                # Gemma scales embeddings by √d and norms each block's output, so let blocks speak up.
                wide = 4.0 if "post_" in key and name == "gemma2" else 1.0
                parameter.uniform_(low * wide, high * wide, generator=draw)
            else:
                width = 0.7 if "embed" in key else 0.6 if "lm_head" in key else 0.25
                parameter.normal_(0.0, width, generator=draw)
    return hf_model, make_tokenizer(sentencepiece=family.sentencepiece, bos=family.bos)


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory):
    """Gives a family's checkpoint in the hub's layout: config, shards with their index, tokenizer."""

    @functools.cache
    def build(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        hf_model, hf_tokenizer = make_family(name)
        hf_model.save_pretrained(folder, max_shard_size="100KB")
        hf_tokenizer.save_pretrained(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def load_family(family_folder):
    """Loads a family's checkpoint from its folder, once."""
    return functools.cache(lambda name: lw.load(family_folder(name), device="cpu"))


@pytest.fixture(scope="session", params=FAMILIES)
def family(request, load_family):
    """A small random model of each family in turn."""
    return load_family(request.param)


@pytest.fixture(scope="session")
def tiny():
    """One small random model (Qwen3) for tests that any model serves. Leave it as it is."""
    hf_model, hf_tokenizer = make_family("qwen3")
    return lw.load(hf_model, tokenizer=hf_tokenizer)


@pytest.fixture(scope="session")
def fresh():
    """Makes new models that a test may tamper with: ``fresh("gemma2", final_logit_softcapping=None)``."""

    def make(name: str = "qwen3", **changes: Any) -> lw.Model:
        hf_model, hf_tokenizer = make_family(name, **changes)
        return lw.load(hf_model, tokenizer=hf_tokenizer)

    return make


@pytest.fixture(scope="session")
def fresh_parts():
    """As `fresh`, but the transformers model and tokenizer, not yet handed to layerwise."""
    return make_family


@pytest.fixture(scope="session")
def toy_tokenizer():
    """Makes the families' tokenizers: ``toy_tokenizer(sentencepiece=True, bos=False)``."""
    return make_tokenizer


@pytest.fixture(scope="session")
def gemma():
    """gemma-3-270m, trained, on the CPU in float32."""
    return lw.load("gemma-3-270m", device="cpu")


@pytest.fixture(scope="session")
def smollm():
    """smollm2-135m, trained, on the CPU in float32."""
    return lw.load("smollm2-135m", device="cpu")


@pytest.fixture(scope="session", params=["gemma", "smollm"])
def bundled_model(request):
    """Both bundled models in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session", params=[*FAMILIES, "gemma", "smollm"])
def every_model(request, load_family):
    """The four families at toy size, then both bundled models."""
    return load_family(request.param) if request.param in FAMILIES else request.getfixturevalue(request.param)


@pytest.fixture(
    scope="module",  # Hypothesis runs one function many times, so nothing may be set up per function
    params=[
        "pytorch",
        pytest.param(
            "compiled", marks=pytest.mark.skipif(not compiled.available(), reason="numba is not installed here")
        ),
        pytest.param(
            "accelerator",
            marks=pytest.mark.skipif(available_devices() == ("cpu",), reason="this machine has no accelerator"),
        ),
    ],
)
def device(request):
    """Where logits are read: in PyTorch on the CPU, compiled on the CPU, on an accelerator if there is one."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "compiled":
            patch.setattr(compiled, "available", lambda: False)
        yield torch.device(available_devices()[0] if request.param == "accelerator" else "cpu")


class Oracle:
    """What transformers computes by itself, and textbook formulas in float64. Nothing of layerwise."""

    def __init__(self, model: lw.Model):
        self.hf = model._loaded.hf
        self.unembedding = self.hf.get_output_embeddings().weight.detach().double()
        self.tokenizer = model._loaded.tokenizer.hf

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    @torch.no_grad()
    def run(self, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states [layer, position, d_model], none of them normed, and logits [position, token].

        `hidden_states[-1]` is normed already, so layer n is what the final norm is given.
        """
        entered: list[torch.Tensor] = []
        hook = self.hf.model.norm.register_forward_pre_hook(lambda _module, args: entered.append(args[0]))
        output = self.hf(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True)
        hook.remove()
        return torch.stack([*output.hidden_states[:-1], entered[0]])[:, 0], output.logits[0].double()

    @torch.no_grad()
    def lens(self, states: torch.Tensor, *, norm: bool = True) -> torch.Tensor:
        """Return T(W_U · N_f(h)) in float64, from the definitions of RMSNorm and the soft-cap."""
        config, x = self.hf.config, states.double()
        if norm:
            gain = self.hf.model.norm.weight.double()
            x = x / (x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps).sqrt()
            x = x * (1 + gain if config.model_type.startswith("gemma") else gain)
        z = x @ self.unembedding.T
        cap = getattr(config, "final_logit_softcapping", None)
        return z if cap is None else cap * torch.tanh(z / cap)


@pytest.fixture(scope="session")
def oracle():
    """`oracle(model)`: an `Oracle` for a layerwise model, made once."""
    return functools.cache(Oracle)


@pytest.fixture
def tampered():
    """A second layerwise model over a deep copy of the first one's weights, free to be damaged."""

    def make(model: lw.Model) -> lw.Model:
        loaded = model._loaded
        return lw.load(copy.deepcopy(loaded.hf), tokenizer=loaded.tokenizer.hf)

    return make
