"""FSQ against the published tokenizer's: bound, codes, ids, codebook and the gradient through the rounding."""

from __future__ import annotations

import torch

from golden.compare import GRADIENTS, Golden, checks
from omnikit.nn.fsq import FSQ


@checks("speech/fsq")
def fsq(golden: Golden) -> None:
    for case, facts in golden.meta.items():
        if not isinstance(facts, dict) or "levels" not in facts:
            continue
        quantizer = FSQ(facts["levels"])
        buffers = quantizer.state_dict()
        for name in golden.names(f"{case}.sd.*"):
            golden.exact(name, buffers[name.removeprefix(f"{case}.sd.")])
        z = golden[f"{case}.in.z"].requires_grad_()
        codes, ids = quantizer(z)
        (codes * golden[f"{case}.in.w"]).sum().backward()
        assert z.grad is not None
        golden.close(f"{case}.out.bounded", quantizer.bound(z))
        golden.close(f"{case}.out.codes", codes)
        golden.exact(f"{case}.out.ids", ids)
        golden.close(f"{case}.out.codebook", quantizer.codes_from_ids(torch.arange(quantizer.num_codes)))
        golden.close(f"{case}.out.grad_z", z.grad, GRADIENTS)
