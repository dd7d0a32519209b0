"""One step of SPIRAL pre-training with the reference's own random draws: inputs, predictions, loss, gradients, teacher.

The first utterance is the longest; only its mel is compared, because the reference lets padding into the end of shorter
rows. What follows is computed from the reference's clean mel, which is what its teacher reads between the two shifts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from golden.check_s2u import tokenizer_of
from golden.compare import GRADIENTS, TINY, VALUES, Golden, checks
from omnikit.nn.spiral import SpiralEncoder, valid_steps
from omnikit.nn.spiral_masking import Draws, hide, shift
from omnikit.nn.spiral_pretraining import Contrast, SpiralPretraining, momentum
from omnikit.stages.optim import Optim

STRIDE = 4
DITHER = 1e-5
MOMENTUM = {"start": 0.99, "end": 0.999, "num_steps": 2_000_000}


@checks("speech/spiral_pretrain")
def spiral_pretrain(golden: Golden) -> None:
    compare_schedules(golden)
    student, objective = models(golden)
    frames, lengths = golden["out.teacher_in"].transpose(1, 2), golden["out.student_len"]
    before, _, after, _ = golden["rng.shift"].tolist()
    num_frames = frames.shape[1] - STRIDE * (before + after)
    mel = frames[:, STRIDE * before :][:, :num_frames] * valid_steps(lengths, num_frames)[..., None]  # [B, F, M]
    draws = Draws(golden["rng.time_mask"], golden["rng.channel_mask"], (before, after), negatives_of(golden, lengths))
    compare_inputs(golden, student, mel, lengths, draws)

    step = int(golden["in.global_step"])
    keep = momentum(step, **MOMENTUM)
    golden.equal("momentum at this step", round(keep, 14), round(golden.meta["overrides"]["ema_momentum_at_step"], 14))
    objective.follow(student.feature_encoder, keep)
    result = objective(student.feature_encoder, mel, lengths, draws, student.mask_emb)
    result.loss.backward()
    compare_result(golden, result, draws)
    compare_gradients(golden, {"": objective, "feature_encoder.": student.feature_encoder})
    state = objective.state_dict()
    for name in golden.names("after.*"):
        golden.close(name, state[name.removeprefix("after.")])


def models(golden: Golden) -> tuple[SpiralEncoder, SpiralPretraining]:
    """Student and objective with the golden weights, in training mode without dropout."""
    config, sizes = golden.meta["config"], golden.meta["overrides"]
    student = tokenizer_of(config).encoder
    golden.close("sd.wav2spec.featurizer.fb", student.wav2spec["featurizer"].fb)
    golden.close("sd.wav2spec.featurizer.window", student.wav2spec["featurizer"].window)
    state = golden.state("sd.")
    own = ("mask_emb", "wav2spec.", "feature_encoder.")
    student.load_state_dict({name: value for name, value in state.items() if name.startswith(own)})
    objective = SpiralPretraining(
        student.feature_encoder,
        config["b1"]["dim"],
        STRIDE,
        sizes["projector"],
        sizes["predictor"],
        sizes["logit_temp"],
        count_padding=True,
    )
    objective.load_state_dict({name: value for name, value in state.items() if not name.startswith(own)})
    for module in (*student.modules(), *objective.modules()):
        if hasattr(module, "layer_drop"):
            module.layer_drop = 0.0
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return student.train(), objective.train()


def negatives_of(golden: Golden, lengths: Tensor) -> Tensor:
    """The reference's indices into all valid steps of the batch, as steps of the own row: [B, T, K]."""
    steps = (-(-lengths // STRIDE)).tolist()
    rows = golden["rng.neg_idx"].view(sum(steps), -1).split(steps)
    starts = [sum(steps[:row]) for row in range(len(steps))]
    return torch.nn.utils.rnn.pad_sequence(
        [indices - start for indices, start in zip(rows, starts, strict=True)], batch_first=True
    )


def compare_inputs(golden: Golden, student: SpiralEncoder, mel: Tensor, lengths: Tensor, draws: Draws) -> None:
    """Front end, what the student sees, what the teacher sees, and their lengths."""
    wave = golden["in.wav"]
    wave = wave / (wave.abs().amax(1, keepdim=True) + 1e-5) + DITHER * golden["rng.dither"]
    own, frames = student.wav2spec["featurizer"](wave, golden["in.len"])
    golden.exact("out.student_len", frames)
    longest = (lengths == lengths.max())[:, None, None]
    golden.close("out.student_in", hide(own.transpose(1, 2), draws, student.mask_emb).transpose(1, 2), VALUES, longest)
    golden.close("out.student_in", hide(mel, draws, student.mask_emb).transpose(1, 2))
    units = golden["rng.shift"].tolist()
    golden.equal("frames of the shift", [units[1], units[3]], [STRIDE * units[0], STRIDE * units[2]])
    shifted, shifted_lengths = shift(mel, lengths, units[1], units[3], student.mask_emb)
    golden.close("out.teacher_in", shifted.transpose(1, 2))
    golden.exact("out.teacher_len", shifted_lengths)
    padding = golden["out.padding_mask"]
    golden.exact("out.padding_mask", ~valid_steps(-(-lengths // STRIDE), padding.shape[1]))


def compare_result(golden: Golden, result: Contrast, draws: Draws) -> None:
    """Predictions, targets and negatives at valid steps, row after row; loss and accuracy."""
    valid = valid_steps(result.lengths, result.prediction.shape[1])
    golden.close("out.pred", result.prediction[valid][None])
    golden.close("out.target", result.target[valid][None])
    rows = torch.arange(len(valid))[:, None, None]
    golden.close("out.negatives", result.target[rows, draws.negatives][valid].transpose(0, 1)[:, None])  # [K, 1, N, P]
    golden.close("out.loss", result.loss)
    golden.close("out.accuracy", result.accuracy)
    golden.equal("steps of the batch", result.count, int(valid.sum()))


def compare_gradients(golden: Golden, modules: dict[str, torch.nn.Module]) -> None:
    """The norm of every weight's gradient."""
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            norm = f"gradnorm.{prefix}{name}"
            if parameter.grad is not None and golden[norm] >= TINY:
                golden.close(norm, parameter.grad.norm(), GRADIENTS)


def compare_schedules(golden: Golden) -> None:
    """Learning rates of both stages, shrunk, and the teacher's momentum over the published steps."""
    published: dict[str, tuple[float, dict[str, Any]]] = {
        "sched.cosine_lr": (3e-4, {"warmup_steps": 10, "final_fraction": 0.0}),
        "sched.poly_hold_decay_lr": (
            3e-5,
            {"warmup_steps": 12, "hold_steps": 48, "decay": "linear", "final_fraction": 0.05},
        ),
    }
    for name, (lr, settings) in published.items():
        optim = Optim(lr=lr, steps=120, **settings)
        golden.close(name, torch.tensor([lr * optim.factor(step) for step in range(140)], dtype=torch.float64), 1e-12)
    got = [momentum(step, **MOMENTUM) for step in golden["sched.steps"].tolist()]
    golden.close("sched.momentum_cosine", torch.tensor(got, dtype=torch.float64), 1e-12)
