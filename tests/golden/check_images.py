"""Picture sizes, slices and pixels against those of the published data pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from golden.compare import Golden, checks
from omnikit.data.images import any_res_slices, native, pad_to_square, square
from omnikit.errors import MediaError
from omnikit.nn.picture_sizes import AnyRes, NativeSize, unpadded
from omnikit.nn.slices import slices_length
from omnikit.types import Images
from omnikit.vision_encoders.qwen2_vit import Qwen2ViT

MULTIPLE = 28


@checks("omni/smart_resize")
def smart_resize(golden: Golden) -> None:
    for row in golden.meta:
        size = NativeSize(MULTIPLE, row["min_pixels"], row["max_pixels"])
        name = f"{row['hw']} in {row['min_pixels']} … {row['max_pixels']}"
        try:
            fitted: Any = list(size.fit(*row["hw"]))
            positions = fitted[0] * fitted[1] // MULTIPLE**2
        except MediaError:
            fitted, positions = {"error": "ValueError"}, None
        if (
            0 in row["out"]
        ):  # the published rule leaves no pixel of a thin picture; ours keeps one row within the budget
            golden.equal(name, (min(fitted), fitted[0] * fitted[1] <= row["max_pixels"]), (MULTIPLE, True))
            continue
        golden.equal(name, fitted, row["out"])
        golden.equal(f"{name} positions", positions, row["tokens"])


@checks("omni/anyres")
def any_res(golden: Golden) -> None:
    for row in golden.meta["rows"]:
        width, height = row["size_wh"]
        grids = tuple((x, y) for x, y in golden.meta["grids"][row["grid_set"]])
        plan = AnyRes(row["base"], grids).plan(height, width)
        name = f"{width} x {height} on {row['base']} {row['grid_set']}"
        found = {
            "grid_wh": list(plan.grid),
            "best_wh": list(plan.canvas[::-1]),
            "n_slices": plan.num_slices,
            "resized_wh": list(plan.resized[::-1]),
            "paste_xy": list(plan.offset[::-1]),
        }
        golden.equal(name, found, {key: row[key] for key in found})
        side = round(row["tokens_per_slice"] ** 0.5)
        columns, rows = plan.grid
        golden.equal(f"{name} map", list(unpadded(rows * side, columns * side, height, width)), row["unpadded_hw"])
        for key, unpad in (("n_tokens_unpad", True), ("n_tokens_spatial", False)):
            golden.equal(f"{name} {key}", slices_length(plan, side, (height, width), unpad), row[key])


@checks("omni/anyres_pixels")
def any_res_pixels(golden: Golden) -> None:
    settings = golden.meta["processor"]
    side = settings["crop"]
    mean, std = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    cutting = AnyRes(side, tuple((x // side, y // side) for x, y in golden.meta["pinpoints"]))

    def normalised(*pictures: Image.Image) -> Tensor:
        pixels = np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures]) / 255.0  # [S, H, W, 3]
        return (torch.from_numpy(pixels).permute(0, 3, 1, 2) - mean) / std

    for case in golden.meta["cases"]:
        name, picture = case["i"], Image.fromarray(golden[f"{case['i']}/image"].numpy())
        plan = cutting.plan(picture.height, picture.width)
        golden.equal(f"{name} canvas", list(plan.canvas[::-1]), case["best"])
        slices = any_res_slices(picture, plan)
        rows, columns = plan.grid[1], plan.grid[0]
        tiles = np.stack([np.asarray(tile) for tile in slices[1:]]).reshape(rows, columns, side, side, 3)
        canvas = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * side, columns * side, 3)
        golden.exact(f"{name}/resized_padded", torch.from_numpy(canvas))
        golden.close(f"{name}/anyres", normalised(*slices))
        padded = pad_to_square(picture, settings["mean"])
        golden.exact(f"{name}/expand2square", torch.from_numpy(np.array(padded)))
        golden.close(f"{name}/pad", normalised(square(padded, side))[0])


@checks("omni/qwen2vl_processor")
def native_pixels(golden: Golden) -> None:
    meta = golden.meta
    encoder = Qwen2ViT(
        dim=8,
        depth=1,
        heads=1,
        out_dim=8,
        patch_size=meta["patch"],
        merge=meta["merge"],
        min_pixels=meta["min_pixels"],
        max_pixels=meta["max_pixels"],
    )
    size = encoder.contract(**encoder.parameters_given).needs["image"].size
    pictures = [Image.fromarray(golden[f"{case['i']}/image"].numpy()) for case in meta["cases"]]
    pixels = [
        torch.from_numpy(np.asarray(native(picture, size), dtype=np.float32) / 255.0).permute(2, 0, 1)
        for picture in pictures
    ]
    packed = encoder.patches(Images.of(pixels))  # of all pictures
    grids = [[height // meta["patch"], width // meta["patch"]] for _, height, width in (item.shape for item in pixels)]
    for case, grid, patches in zip(
        meta["cases"], grids, packed.split([rows * columns for rows, columns in grids]), strict=True
    ):
        golden.exact(f"{case['i']}/image_grid_thw", torch.tensor([[1, *grid]]))
        golden.equal(f"{case['i']} grid", [[1, *grid]], case["grid"])
        golden.equal(f"{case['i']} patches", list(patches.shape), case["patches"])
        golden.close(f"{case['i']}/pixel_values", patches)
