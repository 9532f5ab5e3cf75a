"""Pure kernels: arrays in, arrays out. No Arrow, no I/O, no allocation; imports nothing of ours but its own siblings."""
