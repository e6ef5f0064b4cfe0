"""Text from a trained model, piece by piece as it comes.

Choice: a key-value cache, so that a token costs one column of attention; when the context is full the newer half of it
is read anew, since learned positions cannot slide. Cost: from then on the model sees between half a block and a block.
Alternative: reading the last block anew for every token (nanoGPT), which costs a block of work a token.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
from torch import Tensor

from pipeline.shards import storage
from pipeline.shards.outcomes import ConfigError, TrainingError
from trainer.data import token_bytes
from trainer.model import GPT

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids, and the bytes of every id."""

    encoder: tokenizers.Tokenizer
    bytes_of: list[bytes]
    end_of_text: int

    def encode(self, text: str) -> list[int]:
        """The ids of a text; one that spells a control token is only text."""
        ids: list[int] = self.encoder.encode(text, add_special_tokens=False).ids
        return ids


def load_tokenizer(path: Path, trained_on: str) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, whose sha256 begins with `trained_on`, as the checkpoint remembers it.

    Raises TrainingError: another tokenizer than the model's, not byte-level BPE, or without end-of-text.
    """
    if not (found := storage.sha256_of(path)).startswith(trained_on):
        raise TrainingError(
            f"{path}: sha256 {found[: len(trained_on)]}…, the model was trained with {trained_on}…: its text would be "
            "rubbish; build the old tokenizer again, or train anew"
        )
    bytes_of = token_bytes(path)
    encoder = tokenizers.Tokenizer.from_file(str(path))
    encoder.encode_special_tokens = True
    end = encoder.token_to_id(END_OF_TEXT)
    if end is None:
        raise TrainingError(f"{path}: has no token {END_OF_TEXT}; run 'webtext build tokenizer'")
    return Tokenizer(encoder, bytes_of, int(end))


def sample(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    stop_at_end: bool = True,
) -> Iterator[str]:
    """Pieces of valid text that go on where the prompt ends, at most `tokens` tokens. The prompt is not repeated.

    `temperature` 0 takes the likeliest token always; `top_k` 0 and `top_p` 1.0 leave out none. Without a prompt a new
    document begins. `stop_at_end` ends with the document. Raises ConfigError: a value out of bounds. TrainingError: the
    tokenizer is not the model's.
    """
    if temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
        raise ConfigError(f"{temperature=}, {top_k=}, {top_p=}: expected 0 or more, 0 or more, above 0 and up to 1")
    if len(tokenizer.bytes_of) > model.shape.vocab:
        raise TrainingError(
            f"the tokenizer has {len(tokenizer.bytes_of)} tokens, the model {model.shape.vocab}; it is another model's"
        )
    generator = torch.Generator().manual_seed(seed)
    ids = tokenizer.encode(prompt) or [tokenizer.end_of_text]
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in generate(model, ids, tokens, lambda logits: choose(logits, temperature, top_k, top_p, generator)):
        if token == tokenizer.end_of_text and stop_at_end:
            break
        piece = decoder.decode(tokenizer.bytes_of[token] if token < len(tokenizer.bytes_of) else b"")
        if piece:
            yield piece
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest


def generate(model: GPT, ids: list[int], tokens: int, pick: Callable[[Tensor], int]) -> Iterator[int]:
    """`tokens` ids after the given ones; `pick` chooses each from the logits (padded vocab) of its place."""
    model.eval()
    ids, block, device = list(ids), model.shape.block, model.wte.weight.device
    cache = model.new_cache()
    news = ids[-block:]
    for _ in range(tokens):
        if cache.length + len(news) > block:
            cache, news = model.new_cache(), ids[-(block // 2) :]
        with torch.no_grad():
            logits = model(torch.tensor([news], device=device), cache)[0, -1]
        ids.append(pick(logits))
        news = ids[-1:]
        yield ids[-1]


def choose(logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator) -> int:
    """One id drawn from the logits (vocab; -inf never), after the cut to the likeliest.

    `top_k`: so many ids (Fan et al. 2018); `top_p`: as many as hold this probability (Holtzman et al. 2020).
    """
    if temperature == 0:
        return int(logits.argmax())
    ordered, ids = logits.double().cpu().sort(descending=True, stable=True)
    weights = torch.softmax((ordered - ordered[0]) / temperature, dim=0)
    if top_k:
        weights[top_k:] = 0.0
        weights /= weights.sum()
    before = weights.cumsum(0) - weights
    weights[before >= top_p] = 0.0
    return int(ids[torch.multinomial(weights, 1, generator=generator)])
