"""Where activations come from: a name becomes a transformers decoder that can be read layer by layer.

Folders import only from folders above them:

    machine/      what there is here: devices and their memory, the cache folder, how threads wait
    sources/      what a name stands for, and bringing its files here: bundled models, the hub, folders, GGUF files
    libraries/    how other libraries are dealt with: transformers' log, TransformerLens's bridge, copies of modules
    tokenizing/   text to token ids and back, conversations through chat templates
    anatomy/      where a decoder has its parts, and where in a block's modules each kind of site is
    weights/      stored tensors, read a few at a time and made a model's parameters; what must be true of them
    gguf/         GGUF files: header, configuration, tokenizer, quantised numbers
    checkpoint/   a model's files together, validated before anything heavy is imported
    output_head/  from a hidden state to logits: final norm, unembedding, the product that takes the time
    residency/    blocks that have their weights when they are called: all the time, or from disk as they run
    loading/      all of it joined to a `LoadedModel`: by name, with random weights, or from what is in memory
    health/       how machine, installation and models stand, as data
"""
