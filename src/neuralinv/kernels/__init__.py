"""Triton kernels for the GPU. Importing this package does not import Triton: modules with kernels are imported on use."""
