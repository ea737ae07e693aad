"""Which architectures are decoders, by their configuration; the others are refused before anything is loaded."""

from typing import Any

from layerwise.errors import UnsupportedModelError

_NOT_A_DECODER = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
)


def expect_decoder(
    config: dict[str, Any], name: str, *, trust_remote_code: bool = False, in_memory: bool = False
) -> None:
    """Stop at architectures for which "the prediction after each layer" has no meaning.

    Args:
        config: what config.json says.
        name: how messages call the model.
        trust_remote_code: whether code that comes with an unknown architecture may run.
        in_memory: whether the model is made already, so that such code has run.

    Raises:
        UnsupportedModelError: it is no decoder, or an architecture that transformers does not know.
    """
    if reason := _reason_against(config, trust_remote_code, in_memory):
        raise UnsupportedModelError(
            f"{name} cannot be read layer by layer: {reason}. "
            "layerwise reads decoders (GPT, Llama, Mistral, Gemma, Qwen and their kin)."
        )


def _reason_against(config: dict[str, Any], trust_remote_code: bool, in_memory: bool) -> str | None:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    model_type = str(config.get("model_type"))
    heads = config.get("architectures")
    own_code = config.get("auto_map") if model_type not in CONFIG_MAPPING else None
    reason = None
    if own_code and trust_remote_code:
        if not isinstance(own_code, dict) or "AutoModelForCausalLM" not in own_code:
            reason = "the code that comes with it names no causal language model (AutoModelForCausalLM in auto_map)"
    elif config.get("is_encoder_decoder"):
        reason = "it is an encoder-decoder: its decoder's prediction also depends on another residual stream"
    elif model_type not in CONFIG_MAPPING:
        reason = None if in_memory else _unknown_architecture(model_type, has_code=bool(own_code))
    elif model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        reason = f"transformers has no causal language model for {model_type!r}"
    elif isinstance(heads, list) and heads and all(str(head).endswith(_NOT_A_DECODER) for head in heads):
        reason = f"it was saved as {heads[0]}, which does not predict the next token"
    # BERT and its kin appear among the causal models too, because is_decoder can make them one.
    elif model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder"):
        reason = "it is encoder-only: each of its positions sees the tokens after it, and none predicts the next"
    return reason


def _unknown_architecture(model_type: str, *, has_code: bool) -> str:
    advice = (
        "; its own code would have to run, which may do anything on this machine. Read it, and if you trust it, "
        "allow it with --trust-remote-code (in Python: trust_remote_code=True)"
    )
    return f"transformers does not know the architecture {model_type!r}{advice if has_code else ''}"
