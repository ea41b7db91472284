"""Running out of memory: batches are halved, nothing is lost, other errors stay what they are."""

import pytest
import torch

from eap import InputError, memory
from eap.dataset import Pair, collate

PAIRS = [Pair(str(i), [1, 2, 3], [1, 4, 3], 2) for i in range(8)]
CPU_MESSAGE = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 9 bytes."
)


def fits(most: int, error: Exception):
    """A computation that gives the rows it got, and runs out of memory with more than `most`."""

    def compute(batch):
        if len(batch.rows) > most:
            raise error
        return batch.rows

    return compute


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), MemoryError(), RuntimeError(CPU_MESSAGE)]
)
def test_batches_are_halved_until_they_fit_and_stay_so(error):
    notes = []
    work = [collate([0, 1, 2, 3, 4], PAIRS[:5]), collate([5, 6, 7], PAIRS[5:])]
    assert list(memory.halving(work, fits(2, error), notify=notes.append)) == [
        [0, 1],
        [2, 3],
        [4],
        [5, 6],
        [7],
    ]
    assert len(notes) == 1


def test_one_example_that_does_not_fit_is_said():
    with pytest.raises(InputError, match="one example of 3 tokens"):
        list(memory.halving([collate([0, 1], PAIRS[:2])], fits(0, MemoryError()), notify=str))


def test_a_full_gpu_is_said_to_be_shared(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2 * 10**9, 85 * 10**9))
    with pytest.raises(InputError, match="2.0 of its 85.0 GB free: other processes"):
        list(memory.halving([collate([0], PAIRS[:1])], fits(0, MemoryError()), notify=str))


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"):
        list(
            memory.halving(
                [collate([0], PAIRS[:1])], fits(0, RuntimeError("wrong shape")), notify=str
            )
        )


def test_an_example_of_a_large_model_is_planned_and_refused_with_the_numbers():
    from transformers import AutoConfig, AutoModelForCausalLM

    from eap.models import adapt

    sizes = {"num_hidden_layers": 16, "hidden_size": 2048, "intermediate_size": 8192}
    sizes |= {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256}
    with torch.device("meta"):  # Llama-3.2-1B's shape, of which no weight is made
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes)).bfloat16()
    adapter = adapt(model, check=False)
    pairs = [Pair("0", [1] * 1024, [2] * 1024, 896)]
    # 16 layers of 1,024 tokens of 2,048 floats, 49 units and 12 for the gated MLP; logits 8 times
    expected = 4 * (16 * 1024 * 2048 * (49 + 12) + 8 * 128 * 128_256)
    assert memory.attribution_bytes(adapter, tokens=1024, targets=128, points=5) == expected
    assert memory.plan_attribution(adapter, pairs, points=5, budget=16 * 10**9) == 1
    numbers = r"8\.7 GB for one example of 1,024 tokens in 16 layers of 32 heads.* got 4\.0 GB"
    with pytest.raises(InputError, match=numbers):
        memory.plan_attribution(adapter, pairs, points=5, budget=4 * 10**9)


def test_the_plan_follows_the_budget():
    from transformers import GPT2Config, GPT2LMHeadModel

    from eap.models import adapt

    adapter = adapt(
        GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=10, n_positions=8))
    )
    bytes_each = memory.attribution_bytes(adapter, tokens=3, targets=1, points=5)
    assert [
        memory.plan_batch_size(
            adapter, PAIRS, points=5, budget=int(n * bytes_each / memory.SHARE) + 1
        )
        for n in (0.1, 3, 1000)
    ] == [1, 3, 8]
    long = [Pair(str(i), [1] * 700, [2] * 700, 650) for i in range(8)]
    # by tokens, on a processor
    assert memory.plan_batch_size(adapter, long, points=5, budget=10**12) == 2
