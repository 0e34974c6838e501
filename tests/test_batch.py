"""A batch comes out of a loader's worker as it went in, and only what is large takes a file descriptor."""

import copy
import pickle

import numpy as np
import torch

from amalia_mm.batch import SpeechTextBatch, TextBatch


def make_batch(num_samples):
    ids = torch.arange(6).view(2, 3)
    text = TextBatch(ids, ids - 100, torch.ones_like(ids), ids % 3, record_ids=("a", "b"))
    return SpeechTextBatch(
        text,
        is_audio=ids > 3,
        num_audio_tokens=torch.tensor([2]),
        ctc_ids=torch.tensor([[5, 4]]),
        num_ctc_ids=torch.tensor([2]),
        waveforms=torch.randn(1, num_samples),
        num_samples=torch.tensor([num_samples]),
    )


def assert_same(found, wanted):
    assert (found.text.record_ids, found.paths) == (wanted.text.record_ids, None)
    for name in ("ids", "labels", "documents", "positions"):
        assert torch.equal(getattr(found.text, name), getattr(wanted.text, name))
    for name in ("is_audio", "num_audio_tokens", "ctc_ids", "num_ctc_ids", "waveforms", "num_samples"):
        value = getattr(found, name)
        assert value.dtype == getattr(wanted, name).dtype
        assert torch.equal(value, getattr(wanted, name))


def test_a_pickled_batch_is_the_same_and_can_be_written_to():
    for num_samples in (10, 100_000):
        batch = make_batch(num_samples)
        for again in (copy.copy(batch), copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
            assert_same(again, batch)
        again.text.labels.fill_(-100)
        assert int(batch.text.labels[0, 0]) == -100 and int(batch.text.labels[1, 2]) == -95


def test_only_what_is_large_travels_as_shared_memory():
    state = make_batch(100_000).__getstate__()
    arrays = {name for name, value in state.items() if isinstance(value, np.ndarray)}
    assert arrays == {"is_audio", "num_audio_tokens", "ctc_ids", "num_ctc_ids", "num_samples"}
    assert isinstance(state["waveforms"], torch.Tensor)


def test_a_batch_out_of_a_worker_is_the_same():
    batches = [make_batch(10), make_batch(100_000)]
    loader = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1)
    for found, wanted in zip(loader, batches, strict=True):
        assert_same(found, wanted)
