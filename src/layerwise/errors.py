"""The errors that layerwise raises on purpose.

LayerwiseError
├── ModelError                  a model cannot be used
│   ├── UnknownModelError         no source has this name
│   ├── GatedModelError           the hub wants a login or an accepted licence
│   ├── OfflineError              the hub could not be reached
│   ├── CorruptFileError          a weight or tokenizer file is not what it should be
│   ├── UnsupportedModelError     an architecture the lens has no meaning for, or that we cannot take apart
│   └── DoesNotFitError           no device here has room for it
├── PromptError                 a prompt, answer or position cannot be used
├── EditError                   an edit cannot be made: of what it puts there, or where
├── LensError                   a fitted lens cannot be made or read, or belongs to another model
├── CheckError                  numbers failed a check, so none are reported
├── QuestionError               a file of questions says something that cannot be asked
├── StudyError                  a study file says something that cannot be run
├── TextError                   text to fit a lens on cannot be read, or there is too little
├── StoreError                  a run or trace on disk cannot be read or written
└── MissingDependencyError      an optional package is not installed

Beside them stand three warnings, for what stops nothing: CheckpointWarning; PromptWarning, where a prompt can be
read and was probably not meant as it is; and LensWarning, where a lens can be read through and something is not known
of it.

A message says what was expected, what came, why it matters, and what to do.
"""


class PromptWarning(UserWarning):
    """Something in a prompt or an answer is read by the model and seen by nobody."""


class LensWarning(UserWarning):
    """A fitted lens can be read through, and something is not known of it, or not there at every layer."""


class LayerwiseError(Exception):
    """Any failure that layerwise foresees. The command line shows its message and no traceback."""


class ModelError(LayerwiseError):
    """A model cannot be used."""


class UnknownModelError(ModelError):
    """No bundled model, alias, folder, file or hub repository has this name."""


class GatedModelError(ModelError):
    """The hub holds the model behind a login or a licence that was not accepted yet."""


class OfflineError(ModelError):
    """The hub could not be reached and the files are not on this machine."""


class CorruptFileError(ModelError):
    """A file is missing, cut short, of another format, or has the wrong checksum."""


class UnsupportedModelError(ModelError):
    """The architecture is not a decoder whose blocks form one chain, or its blocks lack what was asked for."""


class DoesNotFitError(ModelError):
    """No device on this machine has room for the weights."""


class PromptError(LayerwiseError):
    """A prompt, an answer or a position cannot be used with this model."""


class EditError(LayerwiseError):
    """An edit cannot be made: what it puts in place is no such value, or there is no such place."""


class LensError(LayerwiseError):
    """A fitted lens cannot be made or read, or it belongs to another model."""


class CheckError(LayerwiseError):
    """A check of the numbers failed. Nothing is reported, because it would be wrong."""


class QuestionError(LayerwiseError):
    """A file of questions says something that cannot be asked."""


class StudyError(LayerwiseError):
    """A study file says something that cannot be run."""


class TextError(LayerwiseError):
    """Text to fit a lens on cannot be read, or there is too little of it."""


class StoreError(LayerwiseError):
    """A run or a trace on disk cannot be read or written."""


class MissingDependencyError(LayerwiseError):
    """An optional package is needed for this and is not installed."""


class CheckpointWarning(UserWarning):
    """Files and settings of a checkpoint differ, and it is read all the same: weights left over, a head of its own."""
