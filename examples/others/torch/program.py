"""PyTorch's DataLoader starts its workers by the context that it is given."""

import os

import allcores as mp
import torch
from torch.utils.data import DataLoader, Dataset


class Squares(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.tensor(index**2), os.getpid()


loader = DataLoader(
    Squares(), batch_size=4, num_workers=2, multiprocessing_context=mp.get_context()
)
values, pids = [], set()
for some, their_pids in loader:
    values += some.tolist()
    pids |= set(their_pids.tolist())
print(values == [index**2 for index in range(40)], "in", len(pids), "processes")
