"""GPT-2 in one file, to be read from top to bottom: tokens in, logits of the next token out.

References: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3 (pre-norm, final
norm, residual scale); github.com/openai/gpt-2, src/model.py (tanh GELU, biases, epsilon, initial values); Vaswani et
al. 2017, "Attention Is All You Need".

Choice: the released model to the letter, so that published weights load and `transformers` gives the same logits. The
names of the parameters are the released ones too. Three later variants can be switched on, each alone: RoPE (Su et al.
2021) for learned positions, RMSNorm (Zhang and Sennrich 2019) for the layer norm, attention that stays in a document.
Cost: an `if` each. Alternative: a library's configurable decoder, ten times the lines for switches that GPT-2 does not
have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5  # of every layer norm; src/model.py, norm()
ROPE_BASE = 10_000.0  # the slowest of the rotations turns once in about 2 pi x 10,000 tokens
PAD_TO = 64  # rows of the embedding: matrix kernels like multiples of 64
# layers, heads, width. The last four are those of Radford et al. 2019, table 2; the others are small enough for a CPU.
PRESETS: dict[str, tuple[int, int, int]] = {
    "laptop": (4, 4, 128),
    "nano": (4, 4, 128),
    "micro": (6, 6, 192),
    "mini": (6, 6, 384),
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}


@dataclass(frozen=True)
class Shape:
    """The numbers that decide which parameters a GPT has. `vocab` is the tokenizer's, `block` the longest context."""

    layers: int
    heads: int
    width: int
    block: int
    vocab: int
    dropout: float = 0.0  # of embeddings, attention and residuals, as in the first GPT; evaluation has none
    rope: bool = False  # rotate queries and keys by their place instead of adding a learned position
    rms: bool = False  # RMSNorm instead of the layer norm

    @property
    def padded_vocab(self) -> int:
        """Rows of the embedding: `vocab` rounded up to a multiple of 64. The rest is never predicted, nor exported."""
        return -(-self.vocab // PAD_TO) * PAD_TO

    @property
    def parameters(self) -> int:
        """Trainable numbers, the padding of the vocabulary not counted, the tied embedding counted once."""
        norm = self.width if self.rms else 2 * self.width
        layer = 12 * self.width**2 + 9 * self.width + 2 * norm
        positions = 0 if self.rope else self.block
        return (self.vocab + positions) * self.width + norm + self.layers * layer

    @property
    def published(self) -> bool:
        """Whether it is GPT-2 as released, without later variants."""
        return not (self.rope or self.rms)


def shape_of(preset: str, block: int, vocab: int, dropout: float, rope: bool = False, rms: bool = False) -> Shape:
    """The shape of a named preset."""
    layers, heads, width = PRESETS[preset]
    return Shape(layers, heads, width, block, vocab, dropout, rope, rms)


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, so that sampling computes one token at a time.

    Two tensors a layer, (batch, heads, block, head width), of which the first `length` positions are filled.
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    length: int = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the newest keys and values of a layer; all of them so far come back."""
        end = self.length + key.shape[2]
        self.keys[layer][:, :, self.length : end] = key
        self.values[layer][:, :, self.length : end] = value
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


@dataclass(frozen=True)
class Context:
    """What every layer needs beside its input, made once for all of them.

    `mask` is True where a token may look, (batch or 1, 1, length, all), None for plainly causal; `rotation` holds the
    cosines and sines of RoPE, each (length, head width), None without.
    """

    cache: Cache | None = None
    mask: Tensor | None = None
    rotation: tuple[Tensor, Tensor] | None = None


def rotation_of(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (length, size) each: pair i turns by position x base^(-2i / size) (Su et al. 2021)."""
    rates = ROPE_BASE ** (-torch.arange(0, size, 2, device=positions.device) / size)
    angles = torch.outer(positions.float(), rates).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """`x` (…, length, size) with each pair (i, i + size / 2) turned by its angle."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return (x * cosine + torch.cat([-second, first], dim=-1) * sine).to(x.dtype)


def documents_of(tokens: Tensor, end_of_text: int) -> Tensor:
    """The number of the document that each token of a window belongs to, from 0; end-of-text closes its own."""
    ends = tokens == end_of_text
    return ends.cumsum(dim=1) - ends.long()


def norm_of(shape: Shape) -> nn.Module:
    """A norm of the residual stream."""
    return nn.RMSNorm(shape.width, eps=EPSILON) if shape.rms else nn.LayerNorm(shape.width, eps=EPSILON)


class Attention(nn.Module):
    """Multi-head causal self-attention: a token looks at itself and at what came before."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.c_attn = nn.Linear(shape.width, 3 * shape.width)
        self.c_proj = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.c_attn(x).split(width, dim=2)
        )
        if context.rotation is not None:
            query, key = rotated(query, context.rotation), rotated(key, context.rotation)
        if context.cache is not None:
            key, value = context.cache.extend(layer, key, value)
        y = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=context.mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=context.mask is None and key.shape[2] == length,
        )
        y = self.c_proj(y.transpose(1, 2).reshape(batch, length, width))
        return functional.dropout(y, self.dropout, self.training)


class MLP(nn.Module):
    """Two layers, four times as wide between them, with the tanh form of GELU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dropout = shape.dropout
        self.c_fc = nn.Linear(shape.width, 4 * shape.width)
        self.c_proj = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_proj(functional.gelu(self.c_fc(x), approximate="tanh"))
        return functional.dropout(x, self.dropout, self.training)


class Layer(nn.Module):
    """Attention, then MLP; each reads a normalised copy of the residual stream and adds to it (pre-norm)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.ln_1 = norm_of(shape)
        self.attn = Attention(shape)
        self.ln_2 = norm_of(shape)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        x = x + self.attn(self.ln_1(x), context, layer)
        mlp: Tensor = self.mlp(self.ln_2(x))
        return x + mlp


class GPT(nn.Module):
    """The language model: token ids (batch, length) in, logits of the next token (batch, length, padded vocab) out.

    The initial values come from torch's global generator: seed it first. Only the embedding `wte` exists: the output
    layer is its transpose (tied, as released).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.padded_vocab, shape.width)
        if not shape.rope:
            self.wpe = nn.Embedding(shape.block, shape.width)
        self.h = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.ln_f = norm_of(shape)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw the initial values: src/model.py (0.02; positions 0.01; biases 0), and the paper, 2.3 (residuals)."""
        for name, parameter in self.named_parameters():
            if name == "wpe.weight":
                parameter.normal_(std=0.01)
            elif name.endswith("c_proj.weight"):
                parameter.normal_(std=0.02 / math.sqrt(2 * self.shape.layers))
            elif parameter.dim() == 2:
                parameter.normal_(std=0.02)
            else:
                parameter.fill_(1.0 if ".weight" in name else 0.0)
        self.wte.weight[self.shape.vocab :] = 0.0

    def forward(self, tokens: Tensor, cache: Cache | None = None, documents: Tensor | None = None) -> Tensor:
        """Logits, (batch, length, padded vocab); those of the padding are -inf, so no softmax ever gives them weight.

        With a `cache`, `tokens` (int64) continue what it holds, and it grows by them. Both together must not be longer
        than the block. With `documents` (`documents_of`) no token sees another document.
        """
        logits = functional.linear(self.hidden(tokens, cache, documents), self.wte.weight)
        if self.shape.padded_vocab > self.shape.vocab:
            logits[..., self.shape.vocab :] = -torch.inf
        return logits

    def hidden(self, tokens: Tensor, cache: Cache | None = None, documents: Tensor | None = None) -> Tensor:
        """What the output layer reads: the normalised end of the residual stream, (batch, length, width)."""
        start = cache.length if cache is not None else 0
        context, positions = self.context(tokens, start, cache, documents)
        x = self.wte(tokens)
        if not self.shape.rope:
            x = x + self.wpe(positions)
        x = functional.dropout(x, self.shape.dropout, self.training)
        for number, layer in enumerate(self.h):
            x = layer(x, context, number)
        if cache is not None:
            cache.length += tokens.shape[1]
        normalised: Tensor = self.ln_f(x)
        return normalised

    def context(
        self, tokens: Tensor, start: int, cache: Cache | None, documents: Tensor | None
    ) -> tuple[Context, Tensor]:
        """The context of the layers, and the positions of the tokens; `start` tokens are in the cache."""
        length, mask = tokens.shape[1], None
        positions = torch.arange(start, start + length, device=tokens.device)
        if documents is not None:
            same = documents[:, None, :, None] == documents[:, None, None, :]
            mask = same & torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        elif start and length > 1:  # row i of the new tokens sees `start` old ones and i + 1 new ones
            mask = torch.ones(length, start + length, dtype=torch.bool, device=tokens.device).tril(start)
        rotation = rotation_of(positions, self.shape.width // self.shape.heads) if self.shape.rope else None
        return Context(cache, mask, rotation), positions

    def losses(self, tokens: Tensor, targets: Tensor, documents: Tensor | None = None) -> Tensor:
        """The cross-entropy of every target in nats, shape of `targets` (batch, length), float32."""
        logits = self(tokens, None, documents)
        flat = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
        return flat.view(targets.shape)

    def new_cache(self, batch: int = 1) -> Cache:
        """An empty cache for `batch` texts of up to `block` tokens."""
        shape, weight = self.shape, self.wte.weight
        size = (batch, shape.heads, shape.block, shape.width // shape.heads)

        def empty() -> list[Tensor]:
            return [torch.zeros(size, dtype=weight.dtype, device=weight.device) for _ in range(shape.layers)]

        return Cache(empty(), empty())

    def decayed(self) -> Iterator[tuple[str, nn.Parameter, bool]]:
        """(name, parameter, whether weight decay applies): to matrices and embeddings, not to biases and gains."""
        for name, parameter in self.named_parameters():
            yield name, parameter, parameter.dim() >= 2


def without_padding(shape: Shape, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the embedding cut to the real vocabulary."""
    return {**weights, "wte.weight": weights["wte.weight"][: shape.vocab]}


def with_padding(shape: Shape, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with zero rows added to the embedding, up to the padded vocabulary."""
    embedding = weights["wte.weight"]
    padding = embedding.new_zeros(shape.padded_vocab - embedding.shape[0], shape.width)
    return {**weights, "wte.weight": torch.cat([embedding, padding])}
