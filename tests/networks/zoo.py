"""Small networks, as their papers and torch's own documentation have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """He et al. 2015, figure 5, left: one ReLU module, called twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + x
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(BasicBlock(8), BasicBlock(8))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.layer1(self.stem(x)).mean((2, 3)))


class UNet(nn.Module):
    """Ronneberger et al. 2015, one level."""

    def __init__(self) -> None:
        super().__init__()
        self.down = self.two_layers(3, 8)
        self.bottom = self.two_layers(8, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.merge = self.two_layers(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def two_layers(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        skip = self.down(x)
        up = self.up(self.bottom(F.max_pool2d(skip, 2)))
        return self.head(self.merge(torch.cat([skip, up], 1)))


class SqueezeExcitation(nn.Module):
    """Hu et al. 2017, figure 3: its sigmoid is a gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.act, self.gate = nn.ReLU(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Any:
        return x * self.gate(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    """Sandler et al. 2018, figure 4, with the gate of MobileNetV3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 12, 1), nn.ReLU6(inplace=True),
            nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.ReLU6(inplace=True),
            SqueezeExcitation(12), nn.Conv2d(12, 3, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        return x + self.conv(x)


class FunctionalMLP(nn.Module):
    """As the tutorials of PyTorch have it: functions in ``forward``, and dropout that knows the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.slope = 0.2

    def forward(self, x: Tensor) -> Any:
        x = F.dropout(F.relu(self.fc1(x)), training=self.training)
        x = F.leaky_relu(self.fc2(x), self.slope, inplace=True) if x.shape[0] > 1 else self.fc2(x).relu()
        return self.fc3(x)


class LstmClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.hidden, self.out = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        states, _ = self.lstm(x)
        return torch.sigmoid(self.out(torch.relu(self.hidden(states[:, -1]))))


class LightningLike(nn.Module):
    """A module that holds its network and its loss, and has steps besides ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 4))
        self.loss = nn.CrossEntropyLoss()

    def forward(self, x: Tensor, scale: float = 1.0) -> Any:
        return self.encoder(x) * scale

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self(batch[0]), batch[1])
        return loss


class TorchTransformer(nn.Module):
    """Torch's encoder and decoder; they hold functions as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Transformer(
            8, 2, num_encoder_layers=2, num_decoder_layers=1, dim_feedforward=16, activation="gelu",
            batch_first=True,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        return self.model(x, x)


class Entry(NamedTuple):
    """A network, the shape of its input, and the sites that it has."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    sites: dict[str, str]


IMAGE = (16, 3, 8, 8)
ZOO: dict[str, Entry] = {
    "resnet": Entry(ResNet, IMAGE, {
        "stem.2": "relu", "layer1.0.relu": "relu", "layer1.0.relu_call_2": "relu",
        "layer1.1.relu": "relu", "layer1.1.relu_call_2": "relu",
    }),
    "unet": Entry(UNet, IMAGE, {
        "down.1": "relu", "down.3": "relu", "bottom.1": "relu", "bottom.3": "relu",
        "merge.1": "relu", "merge.3": "relu",
    }),
    "mobilenet": Entry(InvertedResidual, IMAGE, {"conv.1": "ReLU6", "conv.3": "ReLU6", "conv.4.act": "relu"}),
    "functional": Entry(FunctionalMLP, (64, 6), {
        "raf_relu_1": "relu", "raf_leaky_relu_1": "leaky_relu(negative_slope=0.2)", "raf_relu_2": "relu",
    }),
    "lstm": Entry(LstmClassifier, (64, 5, 6), {"raf_relu_1": "relu"}),
    "lightning": Entry(LightningLike, (64, 6), {"encoder.1": "silu"}),
    "transformer": Entry(TorchTransformer, (32, 5, 8), {
        "model.encoder.layers.0.activation": "gelu", "model.encoder.layers.1.activation": "gelu",
        "model.decoder.layers.0.activation": "gelu",
    }),
}  # fmt: skip


def make(name: str) -> tuple[Any, Tensor]:
    """A network in evaluation mode and a batch, the same each time."""
    torch.manual_seed(0)
    network = ZOO[name].make().eval()
    return network, torch.randn(ZOO[name].shape)


def outputs(network: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        y: Tensor = network(x)
    return y
