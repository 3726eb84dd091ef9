"""Minibatch SGD: parameters, statistics of the data, epochs, the loop over them, checkpoints."""
