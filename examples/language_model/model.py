"""A small transformer that predicts the next token, and the text that it learns from."""

import pydoc_data.topics
import re
from collections import Counter

import torch
from torch import Tensor, nn


def load_tokens() -> tuple[Tensor, list[str]]:
    """Return the reference manual that Python ships, as numbers of words, and the words by number."""
    text = "\n".join(pydoc_data.topics.topics.values())
    words = re.findall(r"\w+|[^\w\s]|\s+", text)
    vocabulary = [word for word, _ in Counter(words).most_common()]
    number = {word: i for i, word in enumerate(vocabulary)}
    return torch.tensor([number[word] for word in words]), vocabulary


class Block(nn.Module):
    """Attention to what came before, and a network for each position, each added to its input."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.to_heads = nn.Linear(width, 3 * width, bias=False)
        self.from_heads = nn.Linear(width, width, bias=False)
        self.network = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return x of shape (batch, length, width), changed."""
        batch, length, width = x.shape
        parts = self.to_heads(self.norms[0](x)).view(batch, length, 3, self.n_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.from_heads(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.network(self.norms[1](x))


class LanguageModel(nn.Module):
    """Hidden states, whose product with the embeddings of all words are the logits of the next word.

    `forward` stops at the hidden states: the logits, of shape (batch, length, n_words), are the largest
    array of a training step, and the loss may not need them.
    """

    def __init__(self, n_words: int, length: int, width: int, n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.words = nn.Embedding(n_words, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, n_heads) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(width)
        for parameter in (self.words.weight, self.positions.weight):
            nn.init.normal_(parameter, std=0.02)

    @property
    def head(self) -> Tensor:
        """The weight of the last linear layer, (n_words, width): the embeddings again."""
        return self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the hidden state at each of the tokens (batch, length)."""
        places = torch.arange(tokens.shape[1])
        return self.norm(self.blocks(self.words(tokens) + self.positions(places)))
