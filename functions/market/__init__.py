"""What traders call things: candles, sessions, indicators and metrics, as kernels on numpy arrays."""
