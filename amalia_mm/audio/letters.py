"""Letters, heard half-way: a CTC head on a middle layer, whose reading the layers after it are given.

Several letters are said in the time of one frame, so a frame has room for several. Knows nothing of which letters:
only how many there are.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn


class LetterHead(nn.Module):
    """Reads letters off hidden frames and adds what it read to them.

    The reading is learned by a CTC loss of its own ("hierarchical" CTC: Sanabria and Metze 2018); handed on, it
    frees the later layers of CTC's assumption that letters do not depend on each other ("self-conditioned" CTC:
    Nozaki and Komatsu 2021).

    Args:
        width: Size of a frame.
        num_letters: Classes, the blank not counted.
        letters_per_frame: Room in a frame.
    """

    def __init__(self, width: int, num_letters: int, letters_per_frame: int) -> None:
        super().__init__()
        if letters_per_frame < 1 or num_letters < 1:
            raise ValueError(
                f"letters_per_frame {letters_per_frame} and num_letters {num_letters} must be at least 1"
            )
        self.letters_per_frame = letters_per_frame
        num_classes = letters_per_frame * (num_letters + 1)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.back = nn.Linear(num_classes, width)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames (k f e) that know their letters, and the letters' logits (k f*s l+1), blank last.

        Args:
            hidden: (k f e).
        """
        logits = rearrange(self.head(self.norm(hidden)), "k f (s l) -> k f s l", s=self.letters_per_frame)
        read = self.back(rearrange(logits.softmax(dim=-1), "k f s l -> k f (s l)"))
        return hidden + read, rearrange(logits, "k f s l -> k (f s) l")
