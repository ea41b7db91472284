"""The golden cases: small models, their pairs, and what another implementation computed for them.

For the GPT-2s the reference implementation (EAP-IG, commit 795f560), for the Llamas a separate
dense one.
"""

import functools
import json
from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from eap.dataset import Pair
from eap.graph import Graph

FOLDER = Path(__file__).parent / "golden"
NAMES = ("tiny_kl", "tiny_nll_padded", "small_kl_padded")
LLAMAS = ("llama_kl", "llama_nll_padded")
N_TARGETS = 5


class Golden:
    """One case: `case` (its JSON), `tensors`, `graph`, unpadded `pairs`, and `model(dtype)`."""

    def __init__(self, name: str):
        self.folder = FOLDER / name
        self.case = json.loads((self.folder / "case.json").read_text())
        self.tensors = load_file(self.folder / "case.safetensors")
        settings = {"model_type": "gpt2", "bos_token_id": 0, "eos_token_id": 0}
        settings |= self.case["config"]
        self.config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        sizes = self.config.num_hidden_layers, self.config.num_attention_heads
        self.graph = Graph(*sizes, self.config.hidden_size)
        self.metric = self.case["metric"]
        self.pairs = [
            self._pair(batch, row)
            for batch in range(self.case["batches"])
            for row in range(len(self.mask(batch)))
        ]

    def mask(self, batch: int) -> torch.Tensor:
        return self.tensors[f"attention_mask.{batch}"]

    def _pair(self, batch: int, row: int) -> Pair:
        n = int(self.mask(batch)[row].sum())
        clean = self.tensors[f"clean_ids.{batch}"][row, :n].tolist()
        corrupted = self.tensors[f"corrupted_ids.{batch}"][row, :n].tolist()
        return Pair(f"{batch}.{row}", clean, corrupted, n - N_TARGETS)

    def model(self, dtype=torch.float64):
        model = AutoModelForCausalLM.from_config(deepcopy(self.config))
        weights = {
            name.removeprefix("model."): value
            for name, value in self.tensors.items()
            if name.startswith("model.")
        }
        model.load_state_dict(weights, strict=False)
        model.tie_weights()
        return model.to(dtype).eval()

    def circuits(self):
        """(selection, n, booleans per edge, metric per example) of every golden circuit."""
        for key in self.tensors:
            if key.startswith("circuit.") and key.endswith(".in_graph"):
                _, selection, n, _ = key.split(".")
                yield (
                    selection,
                    int(n),
                    self.tensors[key].bool(),
                    self.tensors[key.replace("in_graph", "metric")],
                )


@functools.cache
def golden(name: str) -> Golden:
    return Golden(name)
