"""Writes the .pt files that torch_file_test reads: make_torch_data.py FOLDER (needs PyTorch 2)."""
import os
import pathlib
import sys

import torch

folder = pathlib.Path(sys.argv[1])


class Hostile:
    def __reduce__(self):
        return (os.system, ("true",))


jacobians = {layer: (torch.arange(9).reshape(3, 3).float() / 7 + layer).half() for layer in range(2)}
metadata = {"model": "tiny", "lr": 0.5, "ok": True, "none": None, "t": (1, -2)}
torch.save({"J": jacobians, "n_prompts": 100, "source_layers": [0, 1], "d_model": 3, "metadata": metadata}, folder / "lens.pt")
views = {"bf": torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "view": torch.arange(12.0).reshape(3, 4).t()}
torch.save(views, folder / "views.pt")
torch.save({"J": Hostile()}, folder / "evil.pt")
shared = [1]
torch.save({"a": shared, "b": shared}, folder / "shared.pt")
torch.save({"i": torch.arange(3)}, folder / "ints.pt")
