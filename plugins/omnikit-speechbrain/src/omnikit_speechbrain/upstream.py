"""The parts of SpeechBrain that are used here, imported in one place.

SpeechBrain leaves modules in `sys.modules` that stand for those that it moved. Asked for any attribute, they import
what they stand for, and fail where its requirements (k2, say) are not installed. Who looks through all modules for
their files, as hypothesis does before the first test, would fail with them; so they are told that they have no file.
"""

from __future__ import annotations

import sys

from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.HifiGAN import HifiganDiscriminator, UnitHifiganGenerator
from speechbrain.nnet.linear import Linear
from speechbrain.utils.importutils import LazyModule

__all__ = ["ECAPA_TDNN", "Fbank", "HifiganDiscriminator", "Linear", "UnitHifiganGenerator"]

for _module in list(sys.modules.values()):
    if isinstance(_module, LazyModule):
        vars(_module).setdefault("__file__", None)
