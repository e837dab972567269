"""Deep networks in low precision, on PyTorch."""
