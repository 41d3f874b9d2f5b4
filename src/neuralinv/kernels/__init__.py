"""Triton kernels for the GPU. Importing this package does not import Triton: its modules do, on use."""
