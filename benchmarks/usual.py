"""The usual loop: a common training script for CIFAR, with a second pass that measures.

Written in the style of the well-known scripts: a dataset of image files, augmented by torchvision's transforms in
DataLoader workers, float32, contiguous layout, SGD with Nesterov momentum, batches of 128. After each epoch a second
DataLoader shows the clean images to the network in eval mode, and the loop keeps the probability of each true label.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class ImageFiles(Dataset):
    """Image files with their labels and positions."""

    def __init__(self, files: list[str], labels: NDArray[np.int64], transform: transforms.Compose) -> None:
        self.files, self.labels, self.transform = files, labels, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), int(self.labels[index]), index


class UsualLoop:
    """The usual loop for one network.

    Args:
        network: the network
        files: N image files of 32 pixels
        labels: ``(N,)`` class of each image
        device: the device of the training
    """

    def __init__(self, network: nn.Module, files: list[str], labels: NDArray[np.int64], device: torch.device) -> None:
        to_tensor = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        random = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        augment = transforms.Compose([*random, *to_tensor])
        clean = transforms.Compose(to_tensor)
        common: dict[str, Any] = {"num_workers": min(4, os.cpu_count() or 1), "persistent_workers": True}
        common["pin_memory"] = device.type == "cuda"
        self.train_loader: DataLoader = DataLoader(
            ImageFiles(files, labels, augment), batch_size=128, shuffle=True, **common
        )
        self.clean_loader: DataLoader = DataLoader(ImageFiles(files, labels, clean), batch_size=128, **common)
        self.network, self.device = network.to(device), device
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
        self.probabilities = np.zeros(len(files), np.float32)

    def epoch(self) -> float:
        """Train and measure for one epoch; return the seconds it took."""
        start = time.perf_counter()
        self.network.train()
        total, correct = 0.0, 0
        for images, labels, _ in self.train_loader:
            images, labels = images.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            logits = self.network(images)
            loss = self.loss(logits, labels)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(labels)
            correct += (logits.argmax(dim=1) == labels).sum().item()
        self.network.eval()
        with torch.no_grad():
            for images, labels, index in self.clean_loader:
                probabilities = self.network(images.to(self.device)).softmax(dim=1).cpu()
                self.probabilities[index] = probabilities[torch.arange(len(labels)), labels].numpy()
        return time.perf_counter() - start
