"""Triton kernels for the GPU. Importing this package does not import Triton: its modules are imported on use."""
