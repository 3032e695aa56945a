"""Where and how a model computes: devices, number types, threads, compilation."""
