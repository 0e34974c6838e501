"""Waveform to encoder frames; knows nothing of text."""

import logging


def _is_for_users(record: logging.LogRecord) -> bool:
    """Return whether a message of torch's is of use to anybody but torchao, which transformers imports."""
    return "is an Enum subclass and is now natively supported" not in str(record.msg)


logging.getLogger("torch.utils._pytree").addFilter(_is_for_users)
