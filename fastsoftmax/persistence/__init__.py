"""Files of arrays and JSON, never of code: NumPy archives, safetensors, checksums, atomic replacement."""
