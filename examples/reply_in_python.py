"""Ask a trained system and write its spoken answer.

python examples/reply_in_python.py "what color is the star?" reply.wav
python examples/reply_in_python.py "what color is the star?" reply.wav runs/emova_tiny/system
"""

from __future__ import annotations

import sys

import omnikit
from omnikit.data.media import write_audio


def main(question: str, path: str, system: str = "tiny") -> None:
    """Three lines: load, reply, write."""
    reply = omnikit.load(system).reply(text=question, seed=0)
    print(reply.turn.text, dict(reply.turn.style.labels[0]) if reply.turn.style.labels else "")
    if reply.audio is not None:  # None when the system answered without speaking
        write_audio(path, reply.audio.wave[0].numpy(), reply.audio.sample_rate)


if __name__ == "__main__":
    main(*sys.argv[1:])
